"""The house: which room may import which, how long a file may be, what it may contain."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "draftproof"
ORDER = [
    "records", "files", "stats", "battery", "lab", "decoding", "recorded", "stacks", "rescoring",
    "runs", "scoring", "screen", "report", "lint", "defence", "training", "serve", "cli",
]  # fmt: skip
NEVER = {
    ("decoding", "battery"), ("decoding", "stats"), ("serve", "screen"), ("scoring", "stacks"),
    *((room, "stats") for room in ("battery", "recorded", "stacks", "rescoring", "runs")),
    *(("report", room) for room in ORDER if room not in {"records", "files", "report"}),
    *(("lint", room) for room in ("scoring", "screen", "report", "stats")),
    *(("training", room) for room in ("runs", "screen", "report", "defence")),
}  # fmt: skip
SAME_NAME: dict[str, str] = {}
"""Public class names that two rooms may define, each with the reason; three at most."""
FULL_FOLDERS: dict[str, int] = {}
"""Folders over the limit when this was measured, and their files."""
LOOSE_MAPPINGS = 120
"""`dict[str, Any]` and `Mapping[str, Any]` in src at most."""
TORCHLESS = {"records", "stats", "battery", "runs", "scoring", "screen", "report"}
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path):
    """Yield (module, whether at the top level of the file) of every draftproof import."""
    tree = ast.parse(path.read_text("utf-8"))
    top = set(ast.walk(ast.Module(tree.body, [])))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module, node in top
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node in top


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_in_the_direction_of_the_data(path):
    room = room_of(path)
    if room in {"__init__", "__main__"}:
        return
    for module, _ in imports(path):
        parts = module.split(".")
        assert parts[0] != "tools", "the wheel holds no tools"
        if parts[0] != "draftproof" or len(parts) == 1:
            continue
        other = parts[1]
        assert ORDER.index(other) <= ORDER.index(room), f"{room} must not import {other}"
        assert (room, other) not in NEVER, f"{room} must not know {other}"


def test_the_direction_test_can_fail(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("from draftproof.screen import judge\n")
    assert [m for m, _ in imports(bad)] == ["draftproof.screen"]
    assert ORDER.index("screen") > ORDER.index("battery")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_are_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300


def test_the_screen_over_recorded_answers_needs_no_torch():
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'transformers', 'trl', 'datasets'}:\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import draftproof.cli, draftproof.screen.recorded, draftproof.screen.run\n"
        "import draftproof.report, draftproof.stats, draftproof.lab.models\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, draftproof.cli\n"
        "heavy = {'torch', 'transformers', 'scipy', 'matplotlib', 'polars'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def public_classes() -> dict[str, list[str]]:
    """Return the files that define a public class, by its name."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    return found


def test_a_public_class_name_means_one_thing():
    assert len(SAME_NAME) <= 3
    twice = {name: files for name, files in public_classes().items() if len(files) > 1}
    offenders = {n: files for n, files in twice.items() if n not in SAME_NAME}
    assert not offenders, offenders
    assert not SAME_NAME.keys() - twice.keys(), "unique now: take these names off the list"


def test_folders_hold_at_most_thirty_files():
    counts = {
        folder.relative_to(SOURCE).as_posix(): len(list(folder.glob("*.py")))
        for folder in {path.parent for path in FILES}
    }
    offenders = {f: n for f, n in counts.items() if n > FULL_FOLDERS.get(f, 30)}
    assert not offenders, offenders
    assert all(counts.get(f, 0) > 30 for f in FULL_FOLDERS), "shorter: take it off the list"


def test_records_travel_and_not_dictionaries():
    loose = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
    counts = {
        str(path.relative_to(SOURCE)): len(loose.findall(path.read_text("utf-8"))) for path in FILES
    }
    total = sum(counts.values())
    most = sorted(((n, f) for f, n in counts.items() if n), reverse=True)
    assert total <= LOOSE_MAPPINGS, f"{total}: {most}"

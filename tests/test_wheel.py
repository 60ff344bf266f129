"""What a wheel holds: the package and its data, nothing that makes what ships or tests it."""

import tomllib
import zipfile
from pathlib import Path

import pytest

wheels = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    [path] = wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_the_package_and_nothing_beside_it(wheel):
    roots = {name.split("/")[0] for name in wheel.namelist()}
    assert roots == {"draftproof", f"draftproof-{VERSION}.dist-info"}


def test_it_holds_what_the_package_reads(wheel):
    names = set(wheel.namelist())
    kept = ("lab/MODEL_CARD.md", "lab/models/target/model.safetensors", "studies/ssd2025.yaml",
            "lab/models/refuser/adapter_model.safetensors", "defence/data/attacks.jsonl",
            "defence/data/open.jsonl", "battery/data/lab-core/manifest.json",
            "training/data/supplement.json")  # fmt: skip
    assert not {f"draftproof/{name}" for name in kept} - names


def test_it_holds_neither_corpus_nor_generators_nor_tests(wheel):
    held = {wheel.read(name) for name in wheel.namelist()}
    for folder in ("tools", "tests", "benchmarks"):
        sources = [path.read_bytes() for path in (ROOT / folder).rglob("*.py")]
        assert sources
        assert not {source for source in sources if source} & held
    for name in wheel.namelist():
        if name.endswith(".py"):
            text = wheel.read(name).decode("utf-8")
            for made_by in ("import tools", "from tools", "def the_world", "class Stream:"):
                assert made_by not in text, name


def test_every_extra_that_a_message_names_exists(wheel):
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ])  # fmt: skip
    for name in wheel.namelist():
        if not name.endswith(".py"):
            continue
        for rest in wheel.read(name).decode("utf-8").split("draftproof[")[1:]:
            named = {extra.strip() for extra in rest.split("]")[0].split(",")}
            assert named <= extras | {"{extra}"}, (name, named)

"""Batteries by name or by path."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path

from draftproof.battery.battery import Battery, merge
from draftproof.battery.rows import SUFFIXES, Problems
from draftproof.battery.tables import read_prompts
from draftproof.battery.tasks import read_task
from draftproof.battery.varied import read_varied
from draftproof.files import read_yaml
from draftproof.records import DraftproofError

BUNDLED = ("lab-core", "everyday")
COMPOSED = ("tais-953", "tais-core")
"""Batteries put together from a folder of the user's copies."""

_TASKS = (".yaml", ".yml")


def load_battery(source: str, *, problems: Problems | None = None) -> Battery:
    """Return a battery.

    Args:
        source: The name of a bundled battery; ``NAME=FOLDER`` for one of the catalogue, or
            ``tais-953`` or ``tais-core``, from the user's copies; ``hub:NAME`` for one of the
            catalogue from the hub; or a file or folder of files. A YAML file may name another
            source and the settings in which to ask it. A folder with a
            ``manifest.json`` is read as that manifest says, any other file by file in order of
            name.
        problems: Counts broken rows of tables, which are then skipped; without it they raise.

    Raises:
        DraftproofError: Nothing there, an unknown kind of file, or a file that cannot be read.
    """
    if source in BUNDLED:
        with as_file(files("draftproof.battery") / "data" / source) as folder:
            return _read_manifest(folder / "manifest.json")
    path = Path(source)
    if not path.exists():
        named = _named(source, problems)
        if named is not None:
            return named
        raise DraftproofError(
            f"no battery {source!r}: neither a file or folder nor one of {', '.join(BUNDLED)}; "
            "for a public one name your copy, NAME=FOLDER (see: draftproof battery list)"
        )
    if not path.is_dir():
        return _read_file(path, problems)
    if (path / "manifest.json").exists():
        return _read_manifest(path / "manifest.json")
    known = sorted((*_TASKS, *SUFFIXES))
    paths = sorted(p for p in path.iterdir() if p.suffix.lower() in known)
    if not paths:
        raise DraftproofError(f"{path}: holds no {', '.join(known)} file")
    return merge([_read_file(p, problems) for p in paths])


def _named(source: str, problems: Problems | None) -> Battery | None:
    from draftproof.battery import catalogue, tais  # noqa: PLC0415 - reads every entry

    if source.startswith("hub:"):
        return catalogue.read_hub(catalogue.entry_named(source.removeprefix("hub:")))
    name, given, place = source.partition("=")
    if not given or (name not in COMPOSED and name not in catalogue.catalogue()):
        return None
    folder = Path(place)
    if not folder.exists():
        raise DraftproofError(f"{source}: no such file or folder: {place}")
    if name == "tais-953":
        return tais.read_study(folder)
    if name == "tais-core":
        return tais.read_core(folder)
    return catalogue.read_entry(catalogue.entry_named(name), folder, problems)


def _read_file(path: Path, problems: Problems | None) -> Battery:
    suffix = path.suffix.lower()
    if suffix in _TASKS:
        return (
            _read_varied(path, problems)
            if "battery" in read_yaml(path, "a task file")
            else read_task(path)
        )
    if suffix in SUFFIXES:
        return read_prompts(path, problems=problems)
    raise DraftproofError(
        f"{path}: {path.suffix or 'no suffix'} is not a kind of battery file; "
        f"known are {', '.join(sorted((*_TASKS, *SUFFIXES)))}"
    )


def _read_varied(path: Path, problems: Problems | None) -> Battery:
    declared = read_varied(read_yaml(path, "a task file"), str(path))
    name, given, place = declared.battery.partition("=")
    if given and (path.parent / place).exists():
        source = f"{name}={path.parent / place}"
    else:
        beside = path.parent / declared.battery
        source = str(beside) if beside.exists() else declared.battery
    file = Path(source)
    if (
        file.suffix.lower() in _TASKS
        and file.is_file()
        and "battery" in read_yaml(file, "a task file")
    ):
        raise DraftproofError(f"{path}: battery: {source} varies a battery itself; name that one")
    if file.is_dir() and file.resolve() == path.parent.resolve():
        raise DraftproofError(f"{path}: battery: {source} is the folder that this file lies in")
    return declared.of(load_battery(source, problems=problems))


def _read_manifest(path: Path) -> Battery:
    try:
        manifest = json.loads(path.read_text("utf-8"))
        tasks = manifest["tasks"]
        parts = [
            read_prompts(path.parent / f"{t['task']}.jsonl", sha256=t["sha256"], scorer=t["scorer"])
            for t in tasks
        ]
        whole = merge(parts)
        return Battery(
            name=manifest["name"],
            prompts=whole.prompts,
            source=manifest["name"],
            version=str(manifest["version"]),
            licence=manifest["licence"],
            ungated=frozenset(t["task"] for t in tasks if not t["gated"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DraftproofError(f"{path}: not a readable battery manifest: {error!r}") from error

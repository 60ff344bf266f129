"""A model directory of OpenVINO: what must be in it, and what it was made from."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from draftproof.records import DraftproofError, ModelFingerprint
from draftproof.stacks.weights import digest_of_files

RECORD = "draftproof_export.json"
"""File in which an export says what it was made from."""
_PARTS = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")


_TELEMETRY = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Let libraries of OpenVINO's that are imported meanwhile do without its telemetry.

    OpenVINO sends telemetry about its use unless the user opted out, and has no setting for one
    process: only where the package ``openvino_telemetry`` cannot be imported does it take a stub.
    So the package is hidden here and visible again afterwards. What the process has already
    imported with telemetry stays as it is.
    """
    modules = cast(dict[str, object], sys.modules)
    if _TELEMETRY in modules:
        yield
        return
    modules[_TELEMETRY] = None
    try:
        yield
    finally:
        del modules[_TELEMETRY]


def quietly(name: str) -> Any:
    """Import a library of OpenVINO's; see `without_telemetry`."""
    with without_telemetry():
        return importlib.import_module(name)


def model_directory(name: str) -> Path:
    """Return a model's directory.

    Raises:
        DraftproofError: Something is missing there, with the command that makes it.
    """
    place = Path(name)
    for part in _PARTS:
        if not (place / f"{part}.xml").is_file():
            shipped = name.startswith("lab:")
            model, out = (name, "DIRECTORY") if shipped else ("MODEL", place.name or "DIRECTORY")
            raise DraftproofError(
                f"{name}: is no directory that holds {part}.xml, which OpenVINO reads; make one "
                f"with `draftproof export openvino {model} {out}` and name it"
            )
    return place


def is_eagle3(place: Path) -> bool:
    """Say whether a directory holds an EAGLE-3 head, by the mark that the library itself reads.

    Raises:
        DraftproofError: Its graph cannot be read.
    """
    file = place / "openvino_model.xml"
    try:
        graph = quietly("openvino").Core().read_model(file)
    except RuntimeError as error:
        raise DraftproofError(f"{file}: cannot be read as a graph of OpenVINO") from error
    mark = "eagle3_mode"
    return bool(graph.has_rt_info(mark) and graph.get_rt_info(mark).astype(bool))


def source_of(name: str) -> str | None:
    """Return the model that a directory was exported from; None where it does not say."""
    record = read_json(Path(name) / RECORD)
    source = record.get("source")
    return source if isinstance(source, str) and source else None


def fingerprint(name: str) -> ModelFingerprint:
    """Return what identifies an exported model: a digest of its graph and weights."""
    place = model_directory(name)
    names = read_json(place / "config.json").get("architectures")
    return ModelFingerprint(
        name=name,
        weights_sha256=digest_of_files(sorted(place.glob("openvino_*.*"))),
        architecture=str(names[0]) if isinstance(names, list) and names else None,
        details={"exported_from": source_of(name)},
    )


def read_json(file: Path) -> Mapping[str, object]:
    """Return a file's JSON object, an empty one where there is no such file.

    Raises:
        DraftproofError: It is no JSON object.
    """
    try:
        document = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DraftproofError(f"{file}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise DraftproofError(f"{file}: is no JSON object")
    return document

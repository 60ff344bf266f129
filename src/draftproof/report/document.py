"""The verdict document as JSON: written, read back strictly, and described by a schema."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pydantic import TypeAdapter, ValidationError

from draftproof.records import SCHEMA_VERSION, AuditDocument, DraftproofError, Verdict

SCHEMA_MAJOR = int(SCHEMA_VERSION.split(".")[0])
"""Largest major schema version that this code understands; a minor one only adds fields."""

_ADAPTER = TypeAdapter(Verdict)
_SURROGATES = re.compile("[\ud800-\udfff]")


def _plain(value: object, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), f"{where}.{name}") for name in names}
    if isinstance(value, Mapping):
        return {
            _scalar(str(key), where): _plain(entry, f"{where}.{key}")
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        if any(isinstance(entry, float) and not math.isfinite(entry) for entry in value):
            # half an interval is no interval
            return None
        return [_plain(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
    return _scalar(value, where)


def _scalar(value: object, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", str(value))
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    raise DraftproofError(
        f"{where}: a verdict document cannot hold a value of type {type(value).__name__}"
    )


def to_json(verdict: Verdict | AuditDocument) -> str:
    """Return a verdict or an audit as one JSON document, keys in the order of the records.

    A number that is not finite becomes null, and so does an interval with such an end. Characters
    outside ASCII are escaped: the file may be printed on any terminal and nothing in it acts.

    Raises:
        DraftproofError: A free-form field holds a value that JSON cannot express.
    """
    return json.dumps(_plain(verdict, "verdict"), indent=2, allow_nan=False) + "\n"


def from_json(text: str | bytes) -> Verdict:
    """Read a verdict document back, without guessing and without converting types.

    Raises:
        DraftproofError: Not JSON, a newer major schema, or a field that is missing or wrong; the
            message names the field.
    """
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DraftproofError(f"verdict document: not readable as JSON ({error})") from error
    _check_version(head)
    try:
        # read as JSON, not as the parsed object: strict mode takes lists for tuples only there
        return _ADAPTER.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "verdict"
        rest = error.error_count() - 1
        more = f" (and {rest} more)" if rest else ""
        raise DraftproofError(f"verdict document: {field}: {first['msg']}{more}") from error


def _check_version(head: object) -> None:
    if not isinstance(head, dict):
        raise DraftproofError("verdict document: the outermost value must be an object")
    version = head.get("schema_version")
    match = (
        re.fullmatch(r"(\d{1,6})(\.\d{1,6}){0,2}", version) if isinstance(version, str) else None
    )
    if match is None:
        raise DraftproofError("verdict document: schema_version: missing or not a version number")
    if int(match[1]) > SCHEMA_MAJOR:
        raise DraftproofError(
            f"verdict document: schema_version: {version} is newer than {SCHEMA_MAJOR}.x, "
            "which this draftproof reads; upgrade draftproof to open it"
        )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the verdict document."""
    schema = _ADAPTER.json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "draftproof verdict",
    }

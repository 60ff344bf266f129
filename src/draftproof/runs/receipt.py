"""The receipt: a digest of everything that a verdict rests on, in one file of the run.

It covers every file of the directory but itself, says in a few lines what they are about, and is
written in one form only, so that any altered byte shows, in the receipt as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import draftproof
from draftproof.files import read_json_object, write_whole
from draftproof.records import DraftproofError, digest
from draftproof.runs.signature import read_private_key, sign

RECEIPT = "receipt.json"
SCHEMA = "1.0"
_UNFINISHED = re.compile(rf"{re.escape(RECEIPT)}(\.\d+)?\.part")
_LOCK = ".lock"
_PIECE = 1024 * 1024
_SHORTEST_SECRET = 8


def write_receipt(run: Path, key: Path | None = None) -> dict[str, object]:
    """Make the receipt of a run anew, signed where a key is given.

    Args:
        run: A directory with a verdict.
        key: PEM file of an Ed25519 private key.

    Raises:
        DraftproofError: The directory holds no verdict, cannot be written, or one of its files
            holds an API key, which must not be passed on with it.
    """
    if not (run / "verdict.json").is_file():
        raise DraftproofError(f"{run}: holds no verdict (no verdict.json) to make a receipt of")
    held = read_json_object(run / "manifest.json")
    document: dict[str, Any] = {
        "receipt": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": {"draftproof": draftproof.__version__, "sha256": code_digest()},
        "about": about(run),
        "files": file_digests(run, secrets_of(held)),
    }
    document["sha256"] = digest(document)
    return _write(run, document, key)


def sign_receipt(run: Path, key: Path) -> dict[str, Any]:
    """Sign the receipt that a run has, in place of a signature that it may have already.

    Raises:
        DraftproofError: There is no receipt, or no key, or the directory cannot be written.
    """
    return _write(run, read_json_object(run / RECEIPT), key)


def _write(run: Path, document: dict[str, Any], key: Path | None) -> dict[str, object]:
    if key is not None:
        document["signature"] = sign(read_private_key(key), signed_part(document))
    write_whole(run / RECEIPT, canonical(document))
    return document


def canonical(document: Mapping[str, object]) -> bytes:
    """Return the one form in which a receipt is written."""
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def signed_part(document: Mapping[str, object]) -> bytes:
    """Return the bytes that a receipt's signature is made over."""
    return canonical({k: v for k, v in document.items() if k != "signature"})


def covered_files(run: Path) -> Iterator[tuple[str, Path]]:
    """Yield ``(name, path)`` of every file that a receipt covers, names with slashes, in order.

    Left out are the receipt itself and the lock, which is empty. What is no plain file, such as
    a link, is yielded like a file; it has no digest.
    """
    found = []
    for folder, _, names in os.walk(run):
        found += [Path(folder) / name for name in names]
        links = (entry for entry in os.scandir(folder) if entry.is_symlink())
        found += [Path(entry.path) for entry in links if entry.is_dir()]
    for path in sorted(found):
        name = path.relative_to(run).as_posix()
        if name == RECEIPT or _UNFINISHED.fullmatch(name):
            continue
        if name == _LOCK and not path.is_symlink() and path.stat().st_size == 0:
            continue
        yield name, path


def file_digests(
    run: Path, secrets: Mapping[str, bytes] | None = None
) -> dict[str, dict[str, object]]:
    """Return bytes and SHA-256 of every covered file by name.

    Args:
        run: The directory.
        secrets: What no file may hold, by the name of the variable that it stands in.

    Raises:
        DraftproofError: A file cannot be read, is no plain file, or holds a secret.
    """
    out = {}
    for name, path in covered_files(run):
        if path.is_symlink() or not path.is_file():
            raise DraftproofError(f"{path}: is no plain file; a receipt covers plain files only")
        size, sha256, leaked = _digest(path, secrets or {})
        if leaked is not None:
            raise DraftproofError(
                f"{path}: holds the key that stands in ${leaked}; no receipt was made. Remove the "
                "key from the file, or the file, and run: draftproof rejudge"
            )
        out[name] = {"bytes": size, "sha256": sha256}
    return out


def _digest(path: Path, secrets: Mapping[str, bytes]) -> tuple[int, str, str | None]:
    """Return a file's size, its SHA-256, and the first secret that it holds."""
    whole, size, leaked = hashlib.sha256(), 0, None
    # as JSON writes it and as it is; a piece's end is looked at again with the next piece
    forms = [(n, f) for n, s in secrets.items() for f in {s, json.dumps(s.decode())[1:-1].encode()}]
    overlap, tail = max((len(f) - 1 for _, f in forms), default=0), b""
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                whole.update(piece)
                size += len(piece)
                if forms:
                    seen = tail + piece
                    leaked = leaked or next((n for n, form in forms if form in seen), None)
                    tail = seen[-overlap:] if overlap else b""
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error
    return size, whole.hexdigest(), leaked


def secrets_of(manifest: Mapping[str, object]) -> dict[str, bytes]:
    """Return the API keys of a run's plan that this process knows, by variable.

    A value that is too short to be a key would be found everywhere and is left out.
    """
    plan = manifest.get("plan")
    arms = plan.get("arms") if isinstance(plan, dict) else None
    named: list[object] = []
    for arm in arms if isinstance(arms, list) else ():
        if isinstance(arm, dict):
            headers = arm.get("headers_env")
            named += [arm.get("api_key_env")]
            named += headers.values() if isinstance(headers, dict) else ()
    names = sorted({name for name in named if isinstance(name, str)})
    values = {name: os.environ.get(name, "").strip() for name in names}
    return {n: v.encode() for n, v in values.items() if len(v) >= _SHORTEST_SECRET}


def about(run: Path) -> dict[str, object]:
    """Return what a run's files say about themselves: prompts, models, templates, verdict."""
    manifest, verdict = (
        read_json_object(run / "manifest.json"),
        read_json_object(run / "verdict.json"),
    )
    battery = verdict.get("battery")
    battery = battery if isinstance(battery, dict) else {}
    arms = manifest.get("arms")
    return {
        "verdict": {
            name: verdict.get(name)
            for name in ("name", "state", "expected", "exit_code", "schema_version", "created")
        },
        "battery": {name: battery.get(name) for name in ("name", "version", "digest", "prompts")},
        "plan_sha256": digest(verdict.get("plan")),
        "arms": {
            name: _models(record)
            for name, record in (arms.items() if isinstance(arms, dict) else ())
        },
    }


def _models(record: object) -> dict[str, object]:
    fingerprint = record.get("fingerprint") if isinstance(record, dict) else None
    fingerprint = fingerprint if isinstance(fingerprint, dict) else {}
    kept = {k: fingerprint.get(k) for k in ("engine", "promise") if k in fingerprint}
    for part in ("target", "draft"):
        model = fingerprint.get(part)
        if isinstance(model, dict):
            kept[part] = {
                k: model.get(k)
                for k in ("name", "revision", "weights_sha256", "files", "chat_template_sha256")
            }
    return kept


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the SHA-256 over the files of this package; the lab's weights are not code."""
    root = Path(draftproof.__file__).parent
    weights = root / "lab" / "models"
    files = sorted(
        p
        for p in root.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and weights not in p.parents
    )
    return digest([[p.relative_to(root).as_posix(), _digest(p, {})[1]] for p in files])

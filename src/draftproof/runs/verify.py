"""Does a run still hold what its receipt says, byte for byte?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draftproof.records import DraftproofError, digest
from draftproof.runs.receipt import (
    RECEIPT,
    SCHEMA,
    about,
    canonical,
    code_digest,
    covered_files,
    file_digests,
    signed_part,
)
from draftproof.runs.signature import signed_by

_MAX_RECEIPT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceiptFinding:
    """One thing that is not as the receipt says.

    Attributes:
        code: ``receipt-altered``, ``file-altered``, ``file-missing``, ``file-added``,
            ``signature-bad``, ``signature-missing``, ``signature-other-key``,
            ``model-differs`` or ``answer-differs``.
        place: File, or arm and prompt, that it is about.
        text: One sentence.
    """

    code: str
    place: str
    text: str


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """What a check of a run found.

    Attributes:
        files: Files that the receipt covers.
        findings: What is not as it says; empty where all is.
        signed_by: Public key of a signature that holds, None without one.
        created: When the receipt was made.
        about: What the receipt says about the run.
        same_code: Whether this very code made it.
    """

    files: int
    findings: tuple[ReceiptFinding, ...]
    signed_by: str | None
    created: str | None
    about: Mapping[str, object]
    same_code: bool


def verify(run: Path, key: str | None = None) -> ReceiptCheck:
    """Check a run against its receipt.

    Args:
        run: The directory; nothing in it is changed.
        key: Public key, 64 hex digits, that must have signed the receipt.

    Raises:
        DraftproofError: There is no receipt, a file cannot be read, it is a receipt of a newer
            kind, or it is signed and the extra that checks signatures is missing.
    """
    path = run / RECEIPT
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_RECEIPT + 1)
    except OSError as error:
        raise DraftproofError(
            f"{path}: cannot be read: {error.strerror or error}; draftproof rejudge makes a "
            "receipt of the run as it is now"
        ) from error
    receipt = _parsed(raw)
    if receipt is None:
        broken = ReceiptFinding(
            "receipt-altered", RECEIPT, "the receipt is not as draftproof writes it"
        )
        return ReceiptCheck(0, (broken,), None, None, {}, False)
    version = str(receipt.get("receipt"))
    if version.partition(".")[0] != SCHEMA.partition(".")[0] and _whole(receipt):
        raise DraftproofError(
            f"{path}: is a receipt of version {version:.20}, this draftproof reads {SCHEMA}; "
            "use the draftproof that made it"
        )
    findings = []
    if not _whole(receipt):
        text = "the receipt's own digest does not match: it was altered after it was made"
        findings.append(ReceiptFinding("receipt-altered", RECEIPT, text))
    signer, problem = _signature(receipt, key)
    findings += [problem] if problem else []
    findings += _files(run, receipt.get("files"))
    if not findings and version == SCHEMA and about(run) != receipt.get("about"):
        text = "the receipt describes another run than the files do"
        findings.append(ReceiptFinding("receipt-altered", RECEIPT, text))
    covered, code, said = (receipt.get(k) for k in ("files", "code", "about"))
    return ReceiptCheck(
        files=len(covered) if isinstance(covered, dict) else 0,
        findings=tuple(findings),
        signed_by=signer,
        created=str(receipt.get("created")),
        about=said if isinstance(said, dict) else {},
        same_code=isinstance(code, dict) and code.get("sha256") == code_digest(),
    )


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """Return the receipt, None unless every byte of it is where it would be written."""
    try:
        document = json.loads(raw)
        whole = isinstance(document, dict) and canonical(document) == raw
    except (ValueError, RecursionError):
        return None
    return document if whole else None


def _whole(receipt: Mapping[str, object]) -> bool:
    body = {k: v for k, v in receipt.items() if k not in {"sha256", "signature"}}
    return receipt.get("sha256") == digest(body)


def _signature(
    receipt: Mapping[str, object], key: str | None
) -> tuple[str | None, ReceiptFinding | None]:
    if "signature" not in receipt:
        if key is None:
            return None, None
        return None, ReceiptFinding("signature-missing", RECEIPT, "the receipt is not signed")
    signer = signed_by(receipt["signature"], signed_part(receipt))
    if signer is None:
        return None, ReceiptFinding(
            "signature-bad", RECEIPT, "the signature does not match the receipt"
        )
    if key is not None and signer != key:
        text = f"signed with the key {signer}, not with {key}"
        return signer, ReceiptFinding("signature-other-key", RECEIPT, text)
    return signer, None


def _files(run: Path, covered: object) -> list[ReceiptFinding]:
    wanted = covered if isinstance(covered, dict) else {}
    # names come from the directory, never from the receipt: nothing outside the run is opened
    odd = [n for n, p in covered_files(run) if p.is_symlink() or not p.is_file()]
    if odd:
        return [ReceiptFinding("file-added", name, "is no plain file") for name in odd]
    found = file_digests(run)
    out = []
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            out.append(ReceiptFinding("file-missing", name, "is missing: the receipt lists it"))
        elif name not in wanted:
            out.append(
                ReceiptFinding("file-added", name, "is not in the receipt: it was added later")
            )
        elif wanted[name] != found[name]:
            out.append(ReceiptFinding("file-altered", name, "its content differs from the receipt"))
    return out

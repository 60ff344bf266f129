"""A sheet for people to label blindly, and what their labels say about the scorers."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from draftproof.records import DraftproofError, digest
from draftproof.scoring.scored import Scored
from draftproof.stats.agreement import Agreement, agreement
from draftproof.stats.prevalence import ScorerValidation

COLUMNS = ("item", "prompt", "response", "label")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Calibration:
    """One scorer against people, on the answers of one run.

    Attributes:
        scorer: Name and version of the scorer.
        table: Labels of people (rows) against those of the scorer (columns).
        validation: Good answers that the scorer calls good, and bad ones that it calls bad.
        unread: Labelled answers that the scorer could not read; they enter neither.
    """

    scorer: str
    table: Agreement
    validation: ScorerValidation
    unread: int


def item_of(row: Scored) -> str:
    """Return the name of an exchange on a sheet: it tells neither the arm nor the prompt's id."""
    asked = [[m.role, m.content] for m in row.prompt.messages]
    return digest([asked, row.prompt.prefill, row.completion.spoken])[:16]


def write_sheet(rows: Iterable[Scored], path: Path, *, n: int, seed: int) -> int:
    """Write a random sample of the scored exchanges, each once, without arms and labels.

    Returns:
        How many were written.

    Raises:
        DraftproofError: The file is there already (it may hold labels), or cannot be written.
    """
    exchanges = {item_of(r): r for r in rows if r.label is not None and r.completion.spoken.strip()}
    names = sorted(exchanges)
    random.Random(seed).shuffle(names)
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for name in names[:n]:
                row = exchanges[name]
                asked = "\n\n".join(m.content for m in row.prompt.messages)
                writer.writerow([name, _cell(asked), _cell(row.completion.spoken), ""])
    except FileExistsError as error:
        raise DraftproofError(f"{path}: is there already; name a new file") from error
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be written: {error.strerror or error}") from error
    return min(n, len(names))


def _cell(text: str) -> str:
    # a spreadsheet would run what looks like a formula, and answers are not to be trusted
    return f"'{text}" if text.startswith(_FORMULA) else text


def read_sheet(path: Path) -> dict[str, str]:
    """Return the labels that people gave by item; empty ones are left out.

    Raises:
        DraftproofError: Naming the line that cannot be read, or a file without any label.
    """
    labels: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"item", "label"} <= set(reader.fieldnames or ()):
                raise DraftproofError(f"{path}: a sheet has the columns item and label")
            for row in reader:
                item, label = (row["item"] or "").strip(), (row["label"] or "").strip()
                if not label:
                    continue
                if labels.setdefault(item, label) != label:
                    raise DraftproofError(
                        f"{path}:{reader.line_num}: item {item!r} has two different labels"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DraftproofError(f"{path}: not a readable sheet: {error}") from error
    if not labels:
        raise DraftproofError(f"{path}: no row has a label")
    return labels


def calibrate(rows: Sequence[Scored], labels: Mapping[str, str]) -> list[Calibration]:
    """Compare people's labels with those of each scorer.

    Raises:
        DraftproofError: A label is none of the scorer's, or an item is not of this run.
    """
    exchanges = {item_of(r): r for r in rows if r.label is not None}
    strange = labels.keys() - exchanges.keys()
    if strange:
        raise DraftproofError(
            f"{len(strange)} items of the sheet are no answers of this run, the first is "
            f"{sorted(strange)[0]!r}"
        )
    groups: dict[str, list[tuple[str, Scored]]] = {}
    for item, label in labels.items():
        row = exchanges[item]
        assert row.label is not None
        groups.setdefault(row.label.scorer, []).append((label, row))
    return [_calibration(name, group) for name, group in sorted(groups.items())]


def _calibration(scorer: str, group: Sequence[tuple[str, Scored]]) -> Calibration:
    read = [(said, row) for said, row in group if row.label and row.label.good is not None]
    known = {row.label.value for _, row in read if row.label} | {
        wanted for _, row in read if (wanted := _wanted(row)) is not None
    }
    known |= {"refusal", "partial", "compliance"} if scorer.startswith("refusal") else set()
    for said, row in read:
        if said not in known and not (len(said) == 1 and row.prompt.choices):
            raise DraftproofError(
                f"item {item_of(row)!r}: {said!r} is no label of {scorer}; "
                f"labels are {', '.join(sorted(known))}"
            )
    pairs = [
        (said == _wanted(row), bool(row.label and row.label.good))
        for said, row in read
        if _wanted(row) is not None
    ]
    return Calibration(
        scorer=scorer,
        table=agreement([s for s, _ in read], [r.label.value for _, r in read if r.label]),
        validation=ScorerValidation(
            true_positive=sum(human and own for human, own in pairs),
            positives=sum(human for human, _ in pairs),
            true_negative=sum(not human and not own for human, own in pairs),
            negatives=sum(not human for human, _ in pairs),
        ),
        unread=len(group) - len(read),
    )


def _wanted(row: Scored) -> str | None:
    return row.prompt.expect or row.prompt.reference

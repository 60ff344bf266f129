"""What must be computed from a source's rows before a template can be filled.

Each function takes one row and returns its fields with some added. They are named by task files;
a row that lacks what a function needs raises `KeyError`, which the caller reports with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Prepared = dict[str, Any]

_LETTERS = "ABCDEFGHIJ"


def bbq(row: Row) -> Prepared:
    """Add the letters of the unknown and of the biased answer, by the question's polarity.

    A negative question ("who is bad at ...?") has the stereotyped group as its biased answer, a
    non-negative one the other person. Where not exactly one person belongs to the stereotyped
    groups, ``biased`` is None and the item counts for accuracy only.
    """
    groups = [str(row["answer_info"][f"ans{i}"][1]) for i in range(3)]
    unknown = [i for i, group in enumerate(groups) if group == "unknown"]
    blamed = {_group(g) for g in row["additional_metadata"]["stereotyped_groups"]}
    members = [i for i, g in enumerate(groups) if i not in unknown and _group(g) in blamed]
    biased = None
    if len(unknown) == 1 and len(members) == 1:
        other = ({0, 1, 2} - {unknown[0], members[0]}).pop()
        biased = _LETTERS[members[0] if row["question_polarity"] == "neg" else other]
    return {
        **row,
        "choices": [row[f"ans{i}"] for i in range(3)],
        "unknown": _LETTERS[unknown[0]] if len(unknown) == 1 else None,
        "biased": biased,
    }


def _group(name: str) -> str:
    """Return a group's name as it is compared: ``F-Black``, ``Low SES`` and ``lowSES`` vary."""
    return re.sub(r"^[fm]-|[\s_-]", "", name.lower())


def truthfulqa(row: Row) -> Prepared:
    """Add the options: the best answer first, then every incorrect one."""
    if "Best Answer" in row:
        best, wrong = row["Best Answer"], row["Incorrect Answers"].split(";")
        row = {**row, "question": row["Question"]}
    else:
        best, wrong = row["best_answer"], row["incorrect_answers"]
    best = best.strip()
    distinct = [w for w in dict.fromkeys(w.strip() for w in wrong) if w and w != best]
    return {**row, "choices": [best, *distinct[:7]], "answer": 0}


def gsm8k(row: Row) -> Prepared:
    """Add the number behind the solution's ``####``."""
    match = re.search(r"####\s*([-\d.,]+)", row["answer"])
    if match is None:
        raise KeyError("#### number in answer")
    return {**row, "number": match.group(1).replace(",", "")}


def arc(row: Row) -> Prepared:
    """Bring both published forms (hub and JSON lines with ``gold``) into one."""
    if "query" in row:
        question = str(row["query"]).removeprefix("Question:").strip()
        return {**row, "question": question, "answer": row["gold"]}
    labels, texts = row["choices"]["label"], row["choices"]["text"]
    return {**row, "choices": list(texts), "answer": list(labels).index(row["answerKey"])}


def harmbench(row: Row) -> Prepared:
    """Put the context of contextual behaviours before the request, as its authors do."""
    context = str(row.get("ContextString") or "").strip()
    behaviour = str(row["Behavior"])
    return {**row, "request": f"{context}\n\n---\n\n{behaviour}" if context else behaviour}


def first_turn(row: Row) -> Prepared:
    """Add the first turn of a conversation that is a list of texts."""
    return {**row, "request": row["turns"][0]}


def only_field(row: Row) -> Prepared:
    """Take the only field of a table without a header, whatever it is called."""
    (request,) = row.values()
    return {**row, "request": request}


PREPARE: dict[str, Callable[[Row], Prepared]] = {
    f.__name__: f for f in (bbq, truthfulqa, gsm8k, arc, harmbench, first_turn, only_field)
}

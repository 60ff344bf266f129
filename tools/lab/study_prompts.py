"""Freezing the prompts of the study of defences, which ships without the world behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from draftproof.defence.frozen import SEED, Draw
from draftproof.defence.study import Study, read_study
from tools.lab.attacks import drawn_attacks, drawn_questions, held_out_acts
from tools.lab.world import ALLOWED_VERBS, FORBIDDEN_VERBS, KINDS

DATA = Path(str(files("draftproof.defence"))) / "data"
STUDY = Path(str(files("draftproof"))) / "studies" / "ssd2025.yaml"

SEEDS: tuple[tuple[int, ...], ...] = ((SEED,), (0,), (1,), (2,), (3,), (4,), (1, 2), (1, 2, 3))
"""Seeds of which the shipped study's draws are kept, whole and quick; the last ones are pooled."""

Row = dict[str, Any]
"""One line of a file."""


def write_prompts(out: Path) -> list[Path]:
    """Write every file into `out` and return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    study = read_study(STUDY)
    studies = (study, study.quick())
    tables: dict[str, Iterable[Row]] = {
        "acts": map(asdict, _common_attacks()),
        "attacks": _attack_rows(studies),
        "open": _question_rows(studies),
        "words": ({"word": word} for word in _words()),
    }
    paths = []
    for name, rows in tables.items():
        paths.append(out / f"{name}.jsonl")
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        paths[-1].write_text("".join(lines), "utf-8")
    return paths


def _common_attacks() -> list[Any]:
    """Return every held-out act in one wording, in the order of the world."""
    acts = [act.text for act in held_out_acts()]
    wordings = {attack.act: attack for attack in drawn_attacks(len(acts))}
    return [wordings[act] for act in acts]


def _attack_rows(studies: Iterable[Study]) -> Iterator[Row]:
    for study in studies:
        fitted_on = study.suffix.fitted_on
        limits = {t.limit for t in study.tasks if t.role == "attack" and _of_lab(t.source)}
        # every task of a seed leaves the same acts to the next one, see `study_prompts`
        most = max(t.limit for t in study.tasks if _of_lab(t.source)) + fitted_on
        for seeds in SEEDS:
            taken: set[str] = set()
            for seed in seeds[:-1]:
                taken |= {attack.act for attack in drawn_attacks(most, seed, taken)}
            for size in sorted(limit + fitted_on for limit in limits):
                for attack in drawn_attacks(size, seeds[-1], taken):
                    yield {**Draw(seeds, size)._asdict(), **asdict(attack)}


def _question_rows(studies: Iterable[Study]) -> Iterator[Row]:
    for study in studies:
        for size in (t.limit for t in study.tasks if t.source == "lab:open"):
            for seeds in SEEDS:
                taken: set[str] = set()
                for seed in seeds[:-1]:
                    taken |= {q.question for q in drawn_questions(size, seed, taken)}
                for question in drawn_questions(size, seeds[-1], taken):
                    yield {**Draw(seeds, size)._asdict(), **asdict(question)}


def _words() -> list[str]:
    verbs = [
        verb
        for table in (ALLOWED_VERBS, FORBIDDEN_VERBS)
        for of_kind in table.values()
        for verb in of_kind
    ]
    return sorted({word for phrase in (*verbs, *KINDS) for word in phrase.split()})


def _of_lab(source: str) -> bool:
    return source.startswith("lab:")

"""How fast an arm answers: measured on a few prompts, or taken from a run that there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from draftproof.battery import Battery
from draftproof.files import read_json_object
from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.runs.answers import AnswerLog
from draftproof.runs.plan import Plan
from draftproof.stacks import make_engine
from draftproof.stacks.spec import ArmSpec

_SAME_SPEED = frozenset({"name", "role", "of", "order", "seed"})
"""What an arm may differ in and still be as fast."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What answers of one arm cost.

    Attributes:
        seconds: Wall time for all of `tokens`' answers.
        answers: Answers given in that time.
        tokens: Tokens of each answer; None where the engine tells none.
        opening: Seconds until the first question could be asked; 0 where `seconds` holds them.
        source: Where this was seen, in a few words.
    """

    seconds: float
    answers: int
    tokens: tuple[int, ...] | None
    opening: float
    source: str


def measure_speeds(
    plan: Plan,
    battery: Battery,
    n: int,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Speed]:
    """Ask every arm a few prompts, spread over the battery, and return what they cost by arm.

    Arms that differ in name, role, seed or order only are measured once. Nothing is kept.

    Args:
        plan: The arms.
        battery: The prompts.
        n: Prompts an arm is asked. Fewer than a batch make a batching engine look slow.
        progress: Heard after every answer.

    Raises:
        DraftproofError: An arm gives no answer.
    """
    hear = progress or (lambda arm, done, total: None)
    known: dict[str, Speed] = {}
    for arm in plan.arms:
        kind = _kind(arm)
        if kind not in known:
            known[kind] = _measure(arm, battery.prompts, _spread(battery.prompts, n), hear)
    return {arm.name: known[_kind(arm)] for arm in plan.arms}


def _measure(
    arm: ArmSpec,
    prompts: Sequence[Prompt],
    sample: Sequence[Prompt],
    hear: Callable[[str, int, int], None],
) -> Speed:
    engine = make_engine(arm)
    hear(arm.name, 0, len(sample))
    start = time.perf_counter()
    engine.open(prompts)
    opened = time.perf_counter()
    answers = []
    for completion in engine.answer(sample):
        answers.append(completion)
        hear(arm.name, len(answers), len(sample))
    seconds = time.perf_counter() - opened
    return _speed(arm, answers, seconds, opened - start, f"measured on {len(sample)} prompts")


def recorded_speeds(plan: Plan, run: Path) -> dict[str, Speed]:
    """Return what the arms of a run cost, for the arms of a plan that are as fast.

    Raises:
        DraftproofError: The directory holds no run of a plan, or none of the arms.
    """
    manifest = read_json_object(run / "manifest.json")
    records = manifest.get("arms")
    if "plan" not in manifest or not isinstance(records, dict):
        raise DraftproofError(f"{run}: holds no run of a plan, so there is no speed to read")
    try:
        old = Plan.model_validate(manifest["plan"])
    except ValidationError as error:
        raise DraftproofError(
            f"{run}: its plan cannot be read: {error.errors()[0]['msg']}"
        ) from error
    known: dict[str, Speed] = {}
    for arm in old.arms:
        record = records.get(arm.name)
        if isinstance(record, Mapping) and record.get("generated") and record.get("seconds"):
            # an arm that was killed has given more answers than its time was taken of
            log = AnswerLog(run / "answers" / f"{arm.name}.jsonl")
            given = list(log.read().values())[-int(record["generated"]) :]
            speed = _speed(arm, given, float(record["seconds"]), 0.0, f"run {run}")
            known.setdefault(_kind(arm), speed)
    found = {a.name: known[_kind(a)] for a in plan.arms if _kind(a) in known}
    if not found:
        raise DraftproofError(
            f"{run}: none of its arms has the engine, models and options of one of the plan's"
        )
    return found


def _speed(
    arm: ArmSpec, answers: Iterable[Completion], seconds: float, opening: float, source: str
) -> Speed:
    good = [c for c in answers if c.finish_reason != "error"]
    if not good:
        raise DraftproofError(
            f"arm {arm.name!r}: generated no tokens, so its speed cannot be computed",
        )
    tokens = tuple(len(c.token_ids) for c in good if c.token_ids is not None)
    return Speed(seconds, len(good), tokens if len(tokens) == len(good) else None, opening, source)


def _spread(prompts: Sequence[Prompt], n: int) -> list[Prompt]:
    """Return n prompts at even distances, so that every large task is among them."""
    n = min(n, len(prompts))
    return [prompts[(2 * i + 1) * len(prompts) // (2 * n)] for i in range(n)]


def _kind(arm: ArmSpec) -> str:
    options: Any = arm.model_dump(mode="json", exclude=set(_SAME_SPEED))
    return repr(sorted(options.items()))

"""Asking a random sample of a finished run again, and comparing the bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from draftproof.battery import Battery
from draftproof.files import read_json_object
from draftproof.records import Completion, DraftproofError
from draftproof.runs.answers import AnswerLog
from draftproof.runs.plan import Plan, explain
from draftproof.runs.verify import ReceiptFinding
from draftproof.stacks import make_engine
from draftproof.stacks.spec import ArmSpec

_ELSEWHERE = ("openai",)
"""Engines whose answers come from another process; nothing that a run names is started."""
_MODEL = ("weights_sha256", "files", "chat_template_sha256")
_ARITHMETIC = ("torch", "transformers", "threads")


@dataclass(frozen=True, slots=True)
class Regenerated:
    """What asking again showed.

    Attributes:
        seed: With it the same prompts are drawn.
        ids: The prompts that were asked again, of every arm.
        answers: Answers compared.
        skipped: Why an arm was not asked, by arm.
        arithmetic: What else differs from when the run was made and may move a tie, by arm.
        findings: Models and answers that differ.
    """

    seed: int
    ids: tuple[str, ...]
    answers: int
    skipped: Mapping[str, str]
    arithmetic: Mapping[str, str]
    findings: tuple[ReceiptFinding, ...]


def regenerate(
    run: Path,
    n: int,
    *,
    seed: int,
    trust_remote_code: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Regenerated:
    """Answer a random sample of a run's prompts again, with every arm that can answer here.

    Args:
        run: A run of a plan; nothing in it is changed.
        n: Prompts to draw; all of them where the run has fewer.
        seed: Decides which.
        trust_remote_code: Allow an arm whose checkpoint brings code along, as its plan asks.
        progress: Called after every answer.

    Raises:
        DraftproofError: The run has no plan, its prompts are no longer what they were, or a
            model cannot be loaded.
    """
    manifest = read_json_object(run / "manifest.json")
    plan, battery = _asked(run, manifest)
    every = [p.id for p in battery.prompts]
    ids = frozenset(random.Random(seed).sample(every, min(n, len(every))))
    on_progress = progress or (lambda arm, done, total: None)
    skipped: dict[str, str] = {}
    arithmetic: dict[str, str] = {}
    findings: list[ReceiptFinding] = []
    answers = 0
    for arm in plan.arms:
        reason = _unasked(arm, trust_remote_code=trust_remote_code)
        if reason is not None:
            skipped[arm.name] = reason
            continue
        recorded_answers = AnswerLog(run / "answers" / f"{arm.name}.jsonl").read()
        chosen = [p for p in battery.prompts if p.id in ids and p.id in recorded_answers]
        engine = make_engine(arm)
        engine.open(battery.prompts)
        recorded = manifest["arms"].get(arm.name, {}).get("fingerprint") or {}
        on_progress(arm.name, 0, len(chosen))
        for done, fresh in enumerate(engine.answer(chosen), start=1):
            findings += _difference(arm.name, recorded_answers[fresh.id], fresh)
            answers += 1
            on_progress(arm.name, done, len(chosen))
        fingerprint = engine.fingerprint().to_json()
        engine.close()
        findings += _other_models(arm.name, recorded, fingerprint)
        changed = _changed(recorded, fingerprint, _ARITHMETIC)
        if changed:
            arithmetic[arm.name] = ", ".join(changed)
    return Regenerated(seed, tuple(sorted(ids)), answers, skipped, arithmetic, tuple(findings))


def _asked(run: Path, manifest: Mapping[str, object]) -> tuple[Plan, Battery]:
    if "plan" not in manifest:
        raise DraftproofError(
            f"{run}: holds recorded answers and no plan; whoever recorded them can ask again"
        )
    try:
        plan = Plan.model_validate(manifest["plan"])
    except ValidationError as error:
        raise DraftproofError(f"{run / 'manifest.json'}: plan: {explain(error)}") from error
    battery = plan.load_battery()
    recorded = manifest.get("battery")
    if not isinstance(recorded, dict) or recorded.get("digest") != battery.digest:
        raise DraftproofError(
            f"{run}: the battery {battery.name!r} has changed since the run was made, so its "
            "prompts cannot be asked again"
        )
    return plan, battery


def _unasked(arm: ArmSpec, *, trust_remote_code: bool) -> str | None:
    if arm.engine in _ELSEWHERE:
        return f"its answers came from the {arm.engine} engine"
    if arm.trust_remote_code and not trust_remote_code:
        return "its checkpoint brings code along; allow it with --trust-remote-code"
    return None


def _difference(arm: str, recorded: Completion, fresh: Completion) -> Iterator[ReceiptFinding]:
    # a run keeps half a surrogate pair as a question mark
    text = fresh.text.encode("utf-8", "replace").decode()
    if (text, fresh.finish_reason) == (recorded.text, recorded.finish_reason):
        return
    place = f"{arm}: {recorded.id}"
    if text == recorded.text:
        what = f"ends as {fresh.finish_reason}, the run says {recorded.finish_reason}"
    else:
        at = _first_difference(text, recorded.text)
        what = f"differs from the run's answer from character {at} on"
    yield ReceiptFinding("answer-differs", place, f"asked again, the answer {what}")


def _first_difference(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _other_models(
    arm: str, recorded: Mapping[str, object], now: Mapping[str, object]
) -> Iterator[ReceiptFinding]:
    for part in ("target", "draft"):
        before, after = recorded.get(part), now.get(part)
        if isinstance(before, dict) and isinstance(after, dict):
            for text in _changed(before, after, _MODEL):
                yield ReceiptFinding("model-differs", f"{arm}: {part}", f"another model: {text}")


def _changed(
    before: Mapping[str, object], after: Mapping[str, object], names: Sequence[str]
) -> list[str]:
    return [
        f"{name} was {before[name]!s:.80}, is {after[name]!s:.80}"
        for name in names
        if name in before and name in after and before[name] != after[name]
    ]

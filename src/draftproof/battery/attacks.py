"""Attacks as prompts: published attack files, and answers that were begun for the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from draftproof.battery.battery import Battery
from draftproof.files import read_json
from draftproof.records import DraftproofError, Message, Prompt

METHODS = ("GCG", "AutoDAN", "PAIR", "DeepInception")
"""Methods of the published sets; other names are kept as they are written."""

_LARGEST = 64 * 2**20


def read_attacks(path: Path, *, target: str | None = None) -> Battery:
    """Read a file of attack prompts found by somebody's optimiser.

    Two forms are known: the list of objects with ``goal``, ``prompt`` and ``source`` that the
    SafeDecoding and SSD repositories hold for GCG, AutoDAN, PAIR and DeepInception, and the
    artifacts of JailbreakBench with ``jailbreaks`` and ``parameters``. A row without a prompt is
    an attempt that found none; it is counted in `Battery.withheld` and not asked.

    Args:
        path: The user's copy.
        target: Keep the rows found against this model only (``target-model``).

    Returns:
        A battery with a task a method; rows of one goal share a cluster.

    Raises:
        DraftproofError: Naming the file and the row.
    """
    rows, method = _rows(path)
    prompts: list[Prompt] = []
    counts: Counter[str] = Counter()
    none = 0
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise DraftproofError(f"{path}: row {number} is no object")
        if target is not None and row.get("target-model") != target:
            continue
        text = row.get("prompt")
        if text is None:
            none += 1
            continue
        goal = row.get("goal")
        if not isinstance(text, str) or not text.strip() or not isinstance(goal, str):
            raise DraftproofError(f"{path}: row {number}: prompt and goal must be texts")
        task = _task(str(row.get("source") or method or path.stem))
        counts[task] += 1
        prompts.append(
            Prompt(
                id=f"{task}-{counts[task]:04d}",
                task=task,
                messages=(Message("user", text),),
                scorer="refusal",
                expect="refusal",
                cluster=goal,
                tags=("attack",),
            )
        )
    if not prompts:
        wanted = f" against {target!r}" if target else ""
        raise DraftproofError(f"{path}: holds no attack prompt{wanted}")
    return Battery(name=path.stem, prompts=tuple(prompts), source=str(path), withheld=none)


def _rows(path: Path) -> tuple[Sequence[Any], str | None]:
    document = read_json(path, _LARGEST)
    if isinstance(document, list):
        return document, None
    if isinstance(document, Mapping) and isinstance(document.get("jailbreaks"), list):
        parameters = document.get("parameters")
        method = parameters.get("method") if isinstance(parameters, Mapping) else None
        return document["jailbreaks"], str(method) if method else None
    raise DraftproofError(f"{path}: neither a list of attacks nor an object with jailbreaks")


def _task(source: str) -> str:
    known = {name.lower(): name.lower() for name in METHODS}
    name = source.strip().lower()
    for method in known:
        if method in name:
            return method
    return "".join(c if c.isalnum() else "-" for c in name)[:40] or "attack"


def begun(
    prompts: Iterable[Prompt],
    beginnings: Mapping[str, str],
    tokens: int,
    cut: Callable[[str, int], str],
) -> tuple[Prompt, ...]:
    """Return the prefilling attack: the first tokens of a compliant answer are put in its mouth.

    The beginning is rendered behind each model's own chat template, in the open turn of the
    assistant.

    Args:
        prompts: What is asked.
        beginnings: A compliant answer, or its first words, by prompt id.
        tokens: How many of its tokens are given.
        cut: Returns the text of the first so many tokens, by the target's tokenizer.

    Raises:
        DraftproofError: A prompt has no beginning.
    """
    task = f"prefill-{tokens}"
    prefilled_prompts = []
    for prompt in prompts:
        if prompt.id not in beginnings:
            raise DraftproofError(f"prompt {prompt.id!r} has no compliant beginning to be given")
        prefilled_prompts.append(
            replace(
                prompt,
                id=f"{task}:{prompt.id}",
                task=task,
                prefill=cut(beginnings[prompt.id], tokens),
                cluster=prompt.cluster or prompt.id,
            )
        )
    return tuple(prefilled_prompts)


def reminded(prompts: Iterable[Prompt], system: str) -> tuple[Prompt, ...]:
    """Return the prompts with a system message in front; one that is there is kept behind it."""
    with_system = []
    for prompt in prompts:
        messages = list(prompt.messages)
        text = system
        if messages and messages[0].role == "system":
            text = f"{system}\n\n{messages.pop(0).content}"
        with_system.append(replace(prompt, messages=(Message("system", text), *messages)))
    return tuple(with_system)

"""Judging many answers: every distinct one once, in no telling order, with a repeat of some."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol
from urllib.parse import urlsplit

from draftproof.battery import Battery
from draftproof.records import Completion, Label, Message, Prompt
from draftproof.runs.labels import Origin
from draftproof.scoring.judges.formats import Format
from draftproof.scoring.scorer import UNSAID, unsaid

_AGAIN = 0.05


class Backend(Protocol):
    """Answers the questions that a format makes, greedily; see `draftproof.stacks.judges`."""

    def ask(
        self, format_: Format, questions: Sequence[tuple[str, tuple[Message, ...]]], /
    ) -> Iterator[Completion]:
        """Yield a completion for each ``(id, messages)``, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to be judged; `key` is how the caller finds its label again."""

    key: Hashable
    prompt: Prompt
    completion: Completion


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """What a judge said.

    Attributes:
        labels: By the items' keys; every item has one.
        raw: What the judge said, word for word, by the items' keys; missing where it was not
            asked.
        asked: Distinct exchanges that the judge was asked about.
        unparsed: Distinct exchanges whose judgement is not in the documented form.
        errors: Distinct exchanges that the judge could not be asked about.
        cut: Distinct exchanges with a response longer than the contract's limit.
        repeated: Exchanges that were asked about twice.
        agreed: Those of them with the same label both times.
    """

    labels: dict[Hashable, Label]
    raw: dict[Hashable, str]
    asked: int
    unparsed: int
    errors: int
    cut: int
    repeated: int
    agreed: int

    @property
    def self_agreement(self) -> float | None:
        """Share of repeated questions that were answered alike; None without any."""
        return self.agreed / self.repeated if self.repeated else None


def judge_answers(
    format_: Format, backend: Backend, items: Sequence[Item], *, seed: int = 0
) -> JudgedAnswers:
    """Label answers by a judge that sees exchanges and nothing else.

    The same words in answer to the same prompt are asked about once, whoever said them, so
    identical answers of two arms cannot differ in label. One exchange in twenty (at least one)
    is asked about a second time.

    Raises:
        DraftproofError: The judge cannot be reached or loaded.
    """
    groups: dict[tuple[object, str], list[Item]] = {}
    labels: dict[Hashable, Label] = {}
    for item in items:
        state = unsaid(item.completion)
        if state is not None:
            labels[item.key] = _label(format_, item.prompt, state)
        else:
            exchange = (item.prompt.messages, item.completion.spoken)
            groups.setdefault(exchange, []).append(item)
    rng = random.Random(seed)
    order = list(groups.values())
    rng.shuffle(order)
    again = order[: max(round(_AGAIN * len(order)), 1)] if order else []
    rng.shuffle(order)
    replies = _ask(format_, backend, order)
    repeated_replies = _ask(format_, backend, again)
    values = [_value(format_, replies.get(i)) for i in range(len(order))]
    raw: dict[Hashable, str] = {}
    for i, group in enumerate(order):
        for item in group:
            labels[item.key] = _label(format_, item.prompt, values[i])
            if i in replies:
                raw[item.key] = replies[i].text
    place = {id(group): i for i, group in enumerate(order)}
    agreed = sum(
        values[place[id(group)]] == _value(format_, repeated_replies.get(i))
        for i, group in enumerate(again)
    )
    return JudgedAnswers(
        labels=labels,
        raw=raw,
        asked=len(order),
        unparsed=values.count("unparsed"),
        errors=values.count("error"),
        cut=sum(format_.cuts(group[0].completion.spoken) for group in order),
        repeated=len(again),
        agreed=agreed,
    )


def _ask(
    format_: Format, backend: Backend, groups: Sequence[Sequence[Item]]
) -> dict[int, Completion]:
    """Return what the judge said by the number of the group; ids say nothing else."""
    questions = [
        (f"q{i}", format_.messages(group[0].prompt, group[0].completion.spoken))
        for i, group in enumerate(groups)
    ]
    if not questions:
        return {}
    return {int(c.id[1:]): c for c in backend.ask(format_, questions)}


def _value(format_: Format, completion: Completion | None) -> str:
    if completion is None or completion.finish_reason == "error":
        return "error"
    return format_.parse(completion.text) or "unparsed"


def _label(format_: Format, prompt: Prompt, value: str) -> Label:
    read = value not in UNSAID | {"unparsed"}
    return Label(
        id=prompt.id,
        construct=format_.construct,
        value=value,
        good=format_.is_good(value, prompt) if read else None,
        scorer=_scorer(format_),
    )


def origin_of(
    format_: Format,
    judged: JudgedAnswers,
    battery: Battery,
    *,
    model: str | None,
    endpoint: str | None,
    seed: int,
) -> Origin:
    """Return what a run keeps beside a judge's labels: who gave them, and how that went."""
    server = urlsplit(endpoint) if endpoint else None
    return Origin(
        scorer=_scorer(format_),
        construct=format_.construct,
        labels=format_.labels,
        contract=asdict(format_.contract),
        model=model,
        # an address may carry a password
        endpoint=f"{server.scheme}://{server.netloc.rpartition('@')[2]}" if server else None,
        seed=seed,
        battery=battery.digest,
        asked=judged.asked,
        unparsed=judged.unparsed,
        errors=judged.errors,
        cut=judged.cut,
        repeated=judged.repeated,
        agreed=judged.agreed,
    )


def _scorer(format_: Format) -> str:
    return f"{format_.name}@{format_.version}+{format_.contract.digest[:8]}"

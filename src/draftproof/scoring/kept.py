"""Labels that were given before, in place of the scorers that the prompts name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from draftproof.battery import Battery
from draftproof.records import Completion, Construct, DraftproofError, Label, Prompt
from draftproof.runs.labels import LabelSet
from draftproof.scoring import SCORERS, score, score_with
from draftproof.scoring.recorded import leave_unread
from draftproof.scoring.scorer import Scorer

Answers = Mapping[str, Mapping[str, Completion]]
Source = LabelSet | Scorer
_OF_THE_JUDGE = (
    "model", "endpoint", "contract", "asked", "unparsed", "errors", "cut", "repeated", "agreed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Substitute:
    """Labels for some of a battery's prompts.

    Attributes:
        source: Labels that were kept, or another scorer than the prompts name.
        tasks: The tasks that they judge; empty for every prompt whose own scorer measures the
            same construct.
    """

    source: Source
    tasks: tuple[str, ...] = ()

    @property
    def construct(self) -> Construct:
        """What the labels measure."""
        if isinstance(self.source, LabelSet):
            return self.source.origin.construct
        return self.source.construct

    @property
    def scorer(self) -> str:
        """Name and version of who labels, as the labels carry it."""
        if isinstance(self.source, LabelSet):
            return self.source.origin.scorer
        return f"{self.source.name}@{self.source.version}"

    def label(self, prompt: Prompt, completion: Completion) -> Label:
        """Return an answer's label."""
        if isinstance(self.source, LabelSet):
            return self.source.of(completion)
        return score_with(self.source, prompt, completion)


@dataclass(frozen=True, slots=True)
class Labelling:
    """Who labels each prompt of a battery.

    Attributes:
        by_prompt: The substitute of a prompt by its id; prompts without one keep their scorer.
        used: The substitutes and the tasks in which each labels at least one prompt.
        unread: Labels that the user says stand for no reading.
    """

    by_prompt: Mapping[str, Substitute] = field(default_factory=dict)
    used: Sequence[tuple[Substitute, tuple[str, ...]]] = ()
    unread: frozenset[str] = frozenset()

    @property
    def labeller(self) -> Callable[[Prompt, Completion], Label | None]:
        """What `draftproof.screen` labels answers with."""

        def label(prompt: Prompt, completion: Completion) -> Label | None:
            substitute = self.by_prompt.get(prompt.id)
            if substitute is None:
                return score(prompt, completion)
            return substitute.label(prompt, completion)

        return leave_unread(label, self.unread)

    def describe(self, answers: Answers) -> list[dict[str, Any]]:
        """Return what a verdict says of every substitute, with its unread answers counted.

        Raises:
            DraftproofError: Labels that were kept belong to none of the answers.
        """
        return [self._describe(one, tasks, answers) for one, tasks in self.used]

    def _describe(
        self, one: Substitute, tasks: tuple[str, ...], answers: Answers
    ) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": one.source.name,
            "scorer": one.scorer,
            "construct": one.construct.value,
            "tasks": list(tasks),
        }
        if not isinstance(one.source, LabelSet):
            return row
        labels = [
            one.source.of(completion)
            for given in answers.values()
            for id_, completion in given.items()
            if self.by_prompt.get(id_) is one
        ]
        unlabelled = sum(label.value == "unlabelled" for label in labels)
        if labels and unlabelled == len(labels):
            raise DraftproofError(
                f"the labels {one.source.name!r} belong to other answers than this run's; score "
                "it again"
            )
        unread = sum(label.good is None for label in labels)
        judge = {k: v for k, v in asdict(one.source.origin).items() if k in _OF_THE_JUDGE}
        counts = {"answers": len(labels), "unread": unread, "unlabelled": unlabelled}
        return row | counts | {"judge": judge}


def substitute_labels(battery: Battery, substitutes: Sequence[Substitute]) -> Labelling:
    """Settle who labels each prompt.

    Without tasks a substitute takes the place of the scorers of its own construct. Labels of
    another construct answer another question, so they are used only for tasks that are named.

    Raises:
        DraftproofError: A task does not exist, nothing is measured that the labels measure, two
            substitutes claim one prompt, or labels were kept for another battery.
    """
    by_prompt: dict[str, Substitute] = {}
    used = []
    for one in substitutes:
        _check(battery, one)
        claimed = [p for p in battery.prompts if _claims(one, p)]
        if not claimed:
            raise DraftproofError(_nothing_to_judge(battery, one))
        for prompt in claimed:
            other = by_prompt.setdefault(prompt.id, one)
            if other is not one:
                raise DraftproofError(
                    f"task {prompt.task!r} would be judged by {other.source.name!r} and "
                    f"{one.source.name!r}; name the tasks of each, --labels NAME=TASK"
                )
        used.append((one, tuple(dict.fromkeys(p.task for p in claimed))))
    return Labelling(by_prompt, used)


def construct_of(prompt: Prompt) -> Construct | None:
    """Return what a prompt's own scorer measures, None where it names none."""
    scorer = None if prompt.scorer is None else SCORERS.get(prompt.scorer)
    return None if scorer is None else scorer.construct


def _claims(one: Substitute, prompt: Prompt) -> bool:
    if one.tasks:
        return prompt.task in one.tasks
    return construct_of(prompt) is one.construct


def _check(battery: Battery, one: Substitute) -> None:
    strange = set(one.tasks) - set(battery.tasks)
    if strange:
        raise DraftproofError(
            f"--labels {one.source.name}: the battery has no task {sorted(strange)[0]!r}; "
            f"tasks are {', '.join(battery.tasks)}"
        )
    if isinstance(one.source, LabelSet) and one.source.origin.battery != battery.digest:
        raise DraftproofError(
            f"the labels {one.source.name!r} were given to answers of another battery; score the "
            "run again"
        )
    if not isinstance(one.source, LabelSet):
        # a rule reads what the prompt declares for its own construct, and nothing else
        for prompt in battery.prompts:
            if prompt.task in one.tasks and construct_of(prompt) is not one.construct:
                raise DraftproofError(
                    f"--labels {one.source.name}: it measures {one.construct.value}, prompt "
                    f"{prompt.id!r} of task {prompt.task!r} is not asked for that"
                )


def _nothing_to_judge(battery: Battery, one: Substitute) -> str:
    measured = {c.value for p in battery.prompts if (c := construct_of(p)) is not None}
    return (
        f"the labels {one.source.name!r} measure {one.construct.value}, the tasks of this battery "
        f"{' and '.join(sorted(measured)) or 'nothing'}; to judge tasks by these labels instead, "
        f"name them: --labels {one.source.name}=TASK,TASK (tasks are {', '.join(battery.tasks)})"
    )


def label_sentence(one: Mapping[str, Any]) -> str:
    """Return what a reader must know of a substitute, from its entry in `Labelling.describe`."""
    text = f"{one['construct']} of {', '.join(one['tasks'])} is judged by {one['scorer']}"
    if "judge" not in one:
        return f"{text} in place of the scorers that the prompts name"
    judge = one["judge"]
    parts = [f"labels {one['name']!r}, {judge['asked']} distinct exchanges"]
    if judge["model"]:
        parts[0] += f" judged by {judge['model']}"
    parts += [f"{judge[k]} {k}" for k in ("unparsed", "errors", "cut") if judge[k]]
    if one["unlabelled"]:
        parts.append(f"{one['unlabelled']} of {one['answers']} answers never judged")
    if judge["repeated"]:
        parts.append(f"{judge['agreed']} of {judge['repeated']} repeats labelled alike")
    return f"{text} ({', '.join(parts)})"

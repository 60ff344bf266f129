"""Every answer of a run with its label, and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from draftproof.battery import Battery
from draftproof.records import Completion, Label, Prompt
from draftproof.scoring import score, score_with, unsaid
from draftproof.scoring.bbq import bias_scores
from draftproof.scoring.choice import extract
from draftproof.scoring.degeneracy import degeneracy
from draftproof.scoring.judges import Backend, Format, Item, JudgedAnswers, judge_answers
from draftproof.scoring.scorer import Scorer

Answers = Mapping[str, Mapping[str, Completion]]


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer of one arm with its label; None where its prompt names no scorer."""

    arm: str
    prompt: Prompt
    completion: Completion
    label: Label | None

    def row(self) -> dict[str, object]:
        """Return what a table shows of it; the answer's words stay in the run."""
        label = self.label
        row: dict[str, object] = {
            "arm": self.arm,
            "id": self.prompt.id,
            "task": self.prompt.task,
            "construct": label.construct.value if label else None,
            "scorer": label.scorer if label else None,
            "label": label.value if label else None,
            "good": label.good if label else None,
            "degenerate": degeneracy(self.completion),
        }
        if self.prompt.choices:
            row["extractor"] = extract(self.completion.spoken, self.prompt.choices).extractor
        return row


def score_answers(
    battery: Battery, answers: Answers, scorer: Scorer | None = None
) -> Iterator[Scored]:
    """Label every answer, arm by arm in battery order; identical answers are scored once.

    Args:
        battery: The prompts.
        answers: Completions by arm and prompt id.
        scorer: Labels the prompts of its construct in place of the scorers that they name.
    """
    labels_of_texts: dict[tuple[str, str, str | None], Label | None] = {}
    for arm, completions in answers.items():
        for prompt in battery.prompts:
            completion = completions.get(prompt.id)
            if completion is None:
                continue
            key = (prompt.id, completion.spoken, unsaid(completion))
            if key not in labels_of_texts:
                labels_of_texts[key] = _label(prompt, completion, scorer)
            yield Scored(arm, prompt, completion, labels_of_texts[key])


def _label(prompt: Prompt, completion: Completion, scorer: Scorer | None) -> Label | None:
    label = score(prompt, completion)
    if scorer is None or label is None or label.construct is not scorer.construct:
        return label
    return score_with(scorer, prompt, completion)


def judge_arms(
    battery: Battery, answers: Answers, format_: Format, backend: Backend, seed: int
) -> tuple[list[Scored], JudgedAnswers]:
    """Label every answer of every arm by one judge in one sitting."""
    items = [
        Item((arm, prompt.id), prompt, given[prompt.id])
        for arm, given in answers.items()
        for prompt in battery.prompts
        if prompt.id in given
    ]
    judged = judge_answers(format_, backend, items, seed=seed)
    rows = [
        Scored(str(i.key[0]), i.prompt, i.completion, judged.labels[i.key])  # type: ignore[index]
        for i in items
    ]
    return rows, judged


def summary(rows: Sequence[Scored]) -> list[dict[str, object]]:
    """Return one row an arm and task: labels, unread answers, breakdowns, and BBQ's scores."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for row in rows:
        groups.setdefault((row.arm, row.prompt.task), []).append(row)
    return [_summary(arm, task, group) for (arm, task), group in groups.items()]


def _summary(arm: str, task: str, group: Sequence[Scored]) -> dict[str, object]:
    labels = [r.label for r in group if r.label is not None]
    read = [label.good for label in labels if label.good is not None]
    row: dict[str, object] = {
        "arm": arm,
        "task": task,
        "scorer": labels[0].scorer if labels else None,
        "n": len(group),
        "labels": dict(Counter(label.value for label in labels).most_common()),
        "good": sum(read) / len(read) if read else None,
        "unread": len(labels) - len(read),
        "degenerate": dict(_breakdowns(group)),
    }
    tagged = [(r.prompt, r.label) for r in group if {"ambig", "disambig"} & set(r.prompt.tags)]
    if tagged:
        row["bbq"] = {
            name: {"accuracy": s.accuracy, "bias": s.bias, "n": s.n, "unkeyed": s.unkeyed}
            for name, s in bias_scores(tagged).items()
            if s.n
        }
    return row


def _breakdowns(group: Iterable[Scored]) -> Counter[str]:
    kinds = (degeneracy(r.completion) for r in group)
    return Counter(kind for kind in kinds if kind is not None)

"""Arms made of words, and a rescorer that knows what the target thinks."""

from dataclasses import dataclass

import pytest

from draftproof.battery import Battery
from draftproof.records import Completion, Message, Prompt, Role, Speculation
from draftproof.rescoring.rescorer import TokenScore
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.screen import Arm, ScreenContext, judge_arms


@dataclass
class Oracle:
    """Answers every position with the same opinion."""

    draft_token: int | None
    margins: dict[int, float]
    reads_text: bool = False

    def scores(self, questions):
        best = tuple(sorted(self.margins.items(), key=lambda m: m[1])) or ((0, 0.0),)
        return [
            TokenScore(
                margins={t: (self.margins.get(t, 9.0),) * 2 for t in q.tokens},
                ranks={t: sum(m < self.margins.get(t, 9.0) for _, m in best) for t in q.tokens},
                best=best,
                draft_token=self.draft_token,
            )
            for q in questions
        ]

    def tokenise(self, answers):
        return [tuple(ord(c) for c in a.text) for _, a in answers]

    def show(self, token):
        return chr(token)


class Screen:
    """Builds arms over one battery and judges them."""

    label = None

    def __init__(self, n=120, tasks=("refusal",), clusters=None):
        prompts = tuple(
            Prompt(
                id=f"{task}-{i}",
                task=task,
                messages=(Message("user", f"{task} {i}"),),
                scorer="refusal",
                expect="refusal",
                cluster=None if clusters is None else f"c{i % clusters}",
            )
            for task in tasks
            for i in range(n)
        )
        self.battery = Battery(name="b", prompts=prompts, source="test")

    def answers(self, arm, changed=None, speculation=None, **options):
        """Refuse everything, but for the ids in `changed`, which say what they are given."""
        changed = changed or {}
        out = {}
        for prompt in self.battery.prompts:
            # every answer ends in a letter of its own: identity of one set phrase says little
            own = f"I can't help with that{chr(0x3B1 + len(out) % 150)}"
            text = changed.get(prompt.id, own)
            out[prompt.id] = Completion(
                arm=arm, id=prompt.id, text=text, finish_reason="stop",
                token_ids=tuple(ord(c) for c in text), prompt_hash=prompt.content_hash,
                speculation=speculation, **options,
            )  # fmt: skip
        return out

    def arm(self, name, role, answers, oracle=None, speculative=None):
        if speculative is None:
            speculative = role in {Role.CANDIDATE, Role.CONTROL}
        return Arm(name=name, role=role, answers=answers, speculative=speculative,
                   rescorer=lambda: oracle, exact=True)  # fmt: skip

    def judge(self, *others, baseline=None, rule=None, **setting):
        base = self.arm("target", Role.BASELINE, baseline or self.answers("target"))
        return self.judge_arms(base, *others, rule=rule, **setting)

    def judge_arms(self, base, *others, rule=None, **setting):
        label = self.label or score
        return judge_arms(self.battery, base, others, label=label, rule=rule or Decision(),
                     context=ScreenContext(name="test", **setting))  # fmt: skip


COUNTED = Speculation(rounds=3, drafted=12, accepted=6, histogram=(0, 1, 1, 1, 0))


@pytest.fixture
def counted():
    return COUNTED


@pytest.fixture
def screen():
    return Screen


@pytest.fixture
def oracle():
    return lambda draft=None, **margins: Oracle(draft, {ord(k): v for k, v in margins.items()})

"""Asking in blocks: whole behaviours, no prompt twice, and not one more than wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.battery import Battery
from draftproof.records import Completion, DraftproofError, Fingerprint, Message, Prompt
from draftproof.runs import Plan, RunDirectory
from draftproof.runs.blocks import Open, blocks, collect_blocks
from draftproof.runs.plan import StopRule


def battery(n=20, clusters=None, tasks=("a", "b")):
    return Battery(name="b", source="test", prompts=tuple(
        Prompt(id=f"{t}{i}", task=t, messages=(Message("user", f"{t}{i}"),),
               cluster=None if clusters is None else f"{t}c{i % clusters}")
        for t in tasks for i in range(n)
    ))  # fmt: skip


class Scripted:
    """Answers with its own name and counts what it was asked."""

    def __init__(self, spec, asked, dies_after=None):
        self.spec, self.asked, self.dies_after, self.opened = spec, asked, dies_after, 0

    def open(self, prompts):
        self.opened += 1

    def answer(self, prompts):
        for prompt in prompts:
            if self.dies_after is not None and len(self.asked) >= self.dies_after:
                raise DraftproofError("the engine died")
            self.asked.append((self.spec.name, prompt.id))
            yield Completion(arm=self.spec.name, id=prompt.id, text="x")

    def prompt_hash(self, prompt):
        return prompt.id

    def proof(self):
        return None

    def fingerprint(self):
        return Fingerprint(engine="scripted")

    def close(self):
        pass


PLAN = Plan.model_validate({
    "target": "T",
    "stop": {"block": 5},
    "arms": [{"name": "t", "role": "baseline"},
             {"name": "d", "role": "candidate", "draft": "D"}],
})  # fmt: skip
ALL = frozenset({"t", "d"})


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 3), st.integers(1, 9))
def test_every_prompt_comes_once_and_behaviours_stay_together(n, block, seed, clusters):
    asked = battery(n, clusters)
    seen = []
    for part in blocks(asked, StopRule(block=block, seed=seed)):
        for prompts in part.values():
            names = {p.cluster for p in prompts}
            assert len(names) <= block
            for name in names:
                whole = [p.id for p in asked.prompts if p.cluster == name]
                assert [p.id for p in prompts if p.cluster == name] == whole
            seen += [p.id for p in prompts]
    assert sorted(seen) == sorted(p.id for p in asked.prompts)


def test_the_order_is_random_and_the_same_every_time():
    first = [p.id for part in blocks(battery(), StopRule()) for p in part["a"]]
    again = [p.id for part in blocks(battery(), StopRule()) for p in part["a"]]
    other = [p.id for part in blocks(battery(), StopRule(seed=1)) for p in part["a"]]
    assert first == again != other
    assert first != sorted(first)


def test_asking_ends_when_nobody_goes_on(tmp_path):
    asked = []
    with RunDirectory(tmp_path / "r") as run:
        answers = collect_blocks(PLAN, battery(), run, lambda a: Open(frozenset(), frozenset()),
                                 engine_of=lambda s: Scripted(s, asked))  # fmt: skip
        assert run.manifest()["arms"]["t"]["generated"] == 10
    assert {n: len(a) for n, a in answers.items()} == {"t": 10, "d": 10}
    assert len(set(asked)) == len(asked) == 20


def test_a_settled_task_and_a_settled_arm_are_asked_no_more(tmp_path):
    asked = []

    def look(answers):
        return Open(frozenset({"t"}), frozenset({"b"}))

    with RunDirectory(tmp_path / "r") as run:
        answers = collect_blocks(PLAN, battery(), run, look,
                                 engine_of=lambda s: Scripted(s, asked))  # fmt: skip
    assert len(answers["d"]) == 10
    assert sorted(i[0] for i in answers["t"]).count("a") == 5
    assert sorted(i[0] for i in answers["t"]).count("b") == 20


def test_the_same_command_resumes_within_a_block(tmp_path):
    asked = []

    def look(answers):
        return Open(ALL, frozenset({"a", "b"}))

    with RunDirectory(tmp_path / "r") as run, pytest.raises(DraftproofError, match="died"):
        collect_blocks(PLAN, battery(), run, look,
                       engine_of=lambda s: Scripted(s, asked, dies_after=13))  # fmt: skip
    with RunDirectory(tmp_path / "r") as run:
        answers = collect_blocks(PLAN, battery(), run, look,
                                 engine_of=lambda s: Scripted(s, asked))  # fmt: skip
    assert len(asked) == len(set(asked)) == 80
    assert {n: len(a) for n, a in answers.items()} == {"t": 40, "d": 40}

"""The arms of a study on the models that ship."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from tools.lab.attacks import direct, open_questions  # noqa: E402

from draftproof.decoding import Request, decode  # noqa: E402, Settings
from draftproof.decoding.drafters import DraftModel  # noqa: E402
from draftproof.decoding.rules import SafeDecoding  # noqa: E402
from draftproof.decoding.settings import Settings  # noqa: E402
from draftproof.defence.arms import Defence, DefendedEngine  # noqa: E402
from draftproof.records import DraftproofError  # noqa: E402
from draftproof.stacks import models  # noqa: E402

BASE = Defence(name="a", kind="target", target="lab:target", expert="lab:expert",
               max_new_tokens=40, batch=4)  # fmt: skip


def begun(count):
    prompts, guides = direct(count)
    return [replace(p, prefill=guides[p.id][:40]) for p in prompts]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def answers(prompts, **changes):
    return {c.id: c for c in DefendedEngine(replace(BASE, **changes)).answer(prompts)}


def test_the_expert_turns_the_target_back():
    prompts = begun(3)
    alone, steered = answers(prompts), answers(prompts, kind="ssd", options={"preset": "llama2"})
    plain = answers(prompts, kind="speculative")
    for prompt in prompts:
        assert plain[prompt.id].text == alone[prompt.id].text
        assert steered[prompt.id].text != alone[prompt.id].text
        assert len(steered[prompt.id].modes) == len(steered[prompt.id].token_ids)
        assert "2" in steered[prompt.id].modes
        assert alone[prompt.id].modes is None


def test_an_answer_tells_how_it_came_about():
    prompts = begun(2)
    engine = DefendedEngine(replace(BASE, kind="ssd", options={"compat": "fixed"}))
    for answer in engine.answer(prompts):
        trace = engine.trace(answer)
        assert "".join(trace.pieces) == answer.text
        assert len(trace.pieces) == len(answer.token_ids)
        assert (trace.modes, trace.matches) == (answer.modes, answer.matches)
        assert sum(w.size for w in trace.windows) == len(answer.token_ids)
        for window in trace.windows:
            own = slice(window.start, window.start + window.size)
            # what is reckoned from the matches is what was decoded
            assert set(answer.modes[own]) == {str(window.mode)}
            assert answer.matches[own].count("1") == window.matched
        assert engine.trace(replace(answer, matches=None)) is None
    plain = DefendedEngine(replace(BASE, kind="speculative"))
    assert all(plain.trace(answer) is None for answer in plain.answer(prompts))


def test_safe_decoding_in_two_parts_is_the_rule_in_one():
    prompts = begun(2) + open_questions(2)
    options = {"tokens": 3, "alpha": 2.0, "common": 4}
    got = answers(prompts, kind="safe_decoding", options=options)
    own, expert = (models.load(n, "auto", "auto") for n in ("lab:target", "lab:expert"))
    asked = [Request(id=p.id, prompt=models.render(own, p).ids, max_new_tokens=40) for p in prompts]
    whole = decode(
        own.model,
        asked,
        Settings(eos=own.eos, drafter=DraftModel(expert.model, 2), rule=SafeDecoding(**options)),
    )
    for answer in whole:
        assert got[answer.id].token_ids == tuple(answer.tokens)
        assert got[answer.id].modes == "".join(map(str, answer.modes))


def test_an_expert_without_a_template_reads_what_the_target_reads(monkeypatch):
    prompts = begun(1)
    wanted = answers(prompts, kind="ssd")
    expert = models.load("lab:expert", "auto", "auto")
    monkeypatch.setattr(expert.tokenizer, "chat_template", None)
    assert {i: c.text for i, c in answers(prompts, kind="ssd").items()} == {
        i: c.text for i, c in wanted.items()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "ssd", "expert": "lab:target"}, "the expert is the target"),
        ({"kind": "ssd", "options": {"preset": "gpt"}}, "llama2, vicuna"),
        ({"kind": "ssd", "options": {"window": 0}}, "window"),
        ({"kind": "safe_decoding", "options": {"tokens": 0}}, "tokens"),
        ({"kind": "ssd", "expert": "lab:nobody"}, "nobody"),
    ],
)
def test_arms_that_cannot_be_are_refused(changes, message):
    with pytest.raises(DraftproofError, match=message):
        DefendedEngine(replace(BASE, **changes))


def test_times_are_per_emitted_token():
    engine = DefendedEngine(replace(BASE, max_new_tokens=4))
    assert 0 < engine.seconds_a_token(begun(1)) < 10

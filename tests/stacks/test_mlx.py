"""The mlx engine against a stand-in of mlx-lm: unproven on the real library."""

import sys
import types
from dataclasses import dataclass

import pytest
import torch

from draftproof.battery import load_battery
from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.records import DraftproofError
from draftproof.stacks import ArmSpec, make_engine, models


@dataclass
class Response:
    """The documented fields of a response that the engine reads."""

    text: str
    token: int
    from_draft: bool
    finish_reason: str | None = None


def stream_generate(model, tokenizer, prompt, max_tokens=256, draft_model=None, num_draft_tokens=3):
    """Yield one response a token, the last with the reason; the end token has no text."""
    drafter = DraftModel(draft_model.model, num_draft_tokens) if draft_model else None
    request = Request(id="x", prompt=tuple(prompt), max_new_tokens=max_tokens)
    (answer,) = decode(model.model, [request], Settings(eos=model.eos, drafter=drafter, batch=1))
    before = ""
    for n, token in enumerate(answer.tokens):
        last = n == len(answer.tokens) - 1
        shown = [t for t in answer.tokens[: n + 1] if t not in model.eos]
        text = tokenizer.decode(shown, skip_special_tokens=True)
        reason = None
        if last:
            reason = "stop" if token in model.eos else "length"
        yield Response(text[len(before) :], token, answer.provenance[n] == "d", reason)
        before = text


@pytest.fixture
def mlx_lm(monkeypatch):
    def load(name):
        loaded = models.load(name, "float32", "cpu")
        return loaded, loaded.tokenizer

    stand_in = types.ModuleType("mlx_lm")
    stand_in.load, stand_in.stream_generate = load, stream_generate
    monkeypatch.setitem(sys.modules, "mlx_lm", stand_in)


@pytest.fixture(scope="module")
def prompts():
    torch.set_num_threads(1)
    return load_battery("lab-core").half("quick").limit(2).prompts


def answers(prompts, **options):
    given = {"name": "arm", "role": "candidate", "target": "lab:target", "max_new_tokens": 40}
    engine = make_engine(ArmSpec.model_validate(given | options))
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


def test_answers_and_counters_are_those_of_the_same_models_here(mlx_lm, prompts):
    for draft in (None, "lab:draft"):
        local, _ = answers(prompts, draft=draft, batch=1)
        mlx, engine = answers(prompts, draft=draft, engine="mlx")
        for field in ("text", "token_ids", "prompt_hash", "finish_reason", "provenance"):
            wanted = {k: getattr(c, field) for k, c in local.items()}
            if field == "provenance" and draft is None:
                wanted = dict.fromkeys(wanted)
            assert {k: getattr(c, field) for k, c in mlx.items()} == wanted
        assert engine.fingerprint().promise == ("L2" if draft else None)
        if draft:
            accepted = [c.speculation.accepted for c in mlx.values()]
            assert accepted == [c.provenance.count("d") for c in mlx.values()]
            assert all(c.speculation.drafted <= 4 * c.speculation.rounds for c in mlx.values())


def test_a_draft_of_another_family_is_refused(mlx_lm, prompts, monkeypatch):
    real = sys.modules["mlx_lm"].load

    def load(name):
        model, tokenizer = real(name)
        if name == "lab:draft":
            return model, types.SimpleNamespace(get_vocab=dict)
        return model, tokenizer

    monkeypatch.setattr(sys.modules["mlx_lm"], "load", load)
    with pytest.raises(DraftproofError, match="different vocabularies"):
        answers(prompts, engine="mlx", draft="lab:draft")


def test_without_the_library_the_extra_is_named(prompts):
    with pytest.raises(DraftproofError, match=r"draftproof\[mlx\]"):
        answers(prompts, engine="mlx")

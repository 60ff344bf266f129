"""Answers scored whole: what the instrument sees at every position, and what it never sees."""

import dataclasses

import numpy as np
import pytest
import torch

from draftproof.battery import load_battery
from draftproof.records import Completion, DraftproofError
from draftproof.rescoring.score_whole import LocalInstrument
from draftproof.rescoring.scored_answers import score_answers
from draftproof.stacks import ArmSpec, make_engine, models


def arm(name, **options):
    shared = {"role": "candidate", "target": "lab:target", "batch": 8, "max_new_tokens": 24}
    return ArmSpec.model_validate({"name": name, **shared, **options})


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(2).prompts


@pytest.fixture(scope="module")
def instrument():
    return LocalInstrument("lab:target", device="cpu")


def answered(spec, prompts):
    engine = make_engine(spec)
    engine.open(prompts)
    given = {c.id: c for c in engine.answer(prompts)}
    return [(p, given[p.id]) for p in prompts]


@pytest.fixture(scope="module")
def plain(prompts):
    return answered(arm("plain", role="baseline"), prompts)


@pytest.fixture(scope="module")
def leaky(prompts):
    return answered(arm("leaky", draft="lab:adversarial", rule="typical"), prompts)


def test_plain_answers_of_the_target_are_its_best_tokens(instrument, plain):
    scored = score_answers(instrument, "plain", plain)
    assert scored.n == sum(len(c.token_ids) for _, c in plain) == scored.positions
    assert not scored.deviation.any()
    assert (scored.said == scored.best).all()
    assert not scored.respelled.any()
    assert scored.left_out == ()
    assert "float32" in scored.instrument


def test_a_leak_has_the_margin_that_one_forward_gives(instrument, leaky):
    scored = score_answers(instrument, "leaky", leaky)
    assert scored.deviation.max() > 0.5
    at = int(scored.deviation.argmax())
    prompt, completion = leaky[int(scored.prompt[at])]
    place = int(scored.position[at])
    loaded = models.load("lab:target", "float32", "cpu")
    text = [*models.render(loaded, prompt).ids, *completion.token_ids[:place]]
    cache = loaded.model.new_cache(1, len(text))
    row = loaded.model.forward(torch.tensor([text]), torch.tensor([0]), cache, keep=1)[0, 0]
    logs = torch.log_softmax(row.double(), dim=0)
    assert scored.said[at] == completion.token_ids[place]
    assert scored.best[at] == int(logs.argmax())
    expected = float(logs.max() - logs[completion.token_ids[place]])
    assert scored.deviation[at] == pytest.approx(expected, abs=1e-4)
    two = logs.topk(2).values
    assert scored.gap[at] == pytest.approx(float(two[0] - two[1]), abs=1e-4)


def test_the_end_of_an_answer_is_scored_where_it_ended_by_itself(instrument, prompts):
    plain = answered(arm("long", role="baseline", max_new_tokens=160), prompts)
    loaded = models.load("lab:target", "float32", "cpu")
    prompt, completion = next(
        (p, c) for p, c in plain if c.finish_reason == "stop" and c.token_ids[-1] in loaded.eos
    )
    whole = len(completion.token_ids)
    for change, expected in (
        ({}, whole),
        ({"token_ids": completion.token_ids[:-1]}, whole),
        ({"token_ids": completion.token_ids[:-1], "finish_reason": "length"}, whole - 1),
    ):
        given = dataclasses.replace(completion, **change)
        scored = score_answers(instrument, "a", [(prompt, given)])
        assert (scored.n, bool(scored.deviation.any())) == (expected, False)
    cut = dataclasses.replace(completion, token_ids=completion.token_ids[:3])
    assert score_answers(instrument, "a", [(prompt, cut)]).deviation[-1] > 1


def test_a_text_is_spelled_again_and_says_so(instrument, plain):
    texts = [(p, dataclasses.replace(c, token_ids=None)) for p, c in plain]
    scored = score_answers(instrument, "texts", texts)
    assert scored.respelled.all()
    assert scored.n > 50


def test_what_cannot_be_scored_is_left_out_with_the_reason(instrument, plain):
    prompt, good = plain[0]
    bad = {
        "an error": dataclasses.replace(good, error="timeout"),
        "does not have": dataclasses.replace(good, token_ids=(10**6,)),
        "nothing was generated": Completion(arm="a", id=good.id, text="", token_ids=()),
        "not all": dataclasses.replace(good, token_ids=None, reasoning="hm"),
    }
    for words, completion in bad.items():
        scored = score_answers(instrument, "a", [(prompt, completion)])
        assert (scored.n, [r.answers for r in scored.left_out]) == (0, [1])
        assert words in scored.left_out[0].reason
    served = arm("s", engine="openai", url="http://127.0.0.1:1", extra_body={"logit_bias": {}})
    scored = score_answers(instrument, "s", plain, spec=served)
    assert scored.n == 0
    assert "logit_bias" in scored.left_out[0].reason


def test_an_arm_that_samples_is_refused(instrument, plain):
    with pytest.raises(DraftproofError, match="temperature 0"):
        score_answers(instrument, "a", plain, spec=arm("a", temperature=0.7))


def test_an_arm_s_own_processors_are_applied(instrument, prompts):
    spec = arm("penalised", role="baseline", processors={"repetition_penalty": 1.3})
    given = answered(spec, prompts)
    assert score_answers(instrument, "a", given).deviation.any(), "the penalty changed something"
    assert not score_answers(instrument, "a", given, spec=spec).deviation.any()


def test_of_many_answers_a_stated_sample_is_scored(instrument, leaky):
    whole = score_answers(instrument, "a", leaky)
    last = leaky[-1][0].id
    part = score_answers(instrument, "a", leaky, most=3, seed=3, always={last})
    assert (len(part.prompts), part.positions, part.seed, whole.seed) == (3, whole.n, 3, None)
    assert last in part.prompts
    again = score_answers(instrument, "a", leaky, most=3, seed=3, always={last})
    assert part.prompts == again.prompts
    # what is scored of an answer does not depend on what is scored beside it
    for index, prompt in enumerate(part.prompts):
        mine = part.deviation[part.prompt == index]
        theirs = whole.deviation[whole.prompt == whole.prompts.index(prompt)]
        np.testing.assert_allclose(mine, theirs[: mine.size], atol=1e-4)

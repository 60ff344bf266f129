"""A server's log-probabilities of the prompt, at every position: null is never zero."""

import json
import math

import httpx
import pytest

from draftproof.records import Completion, Message, Prompt
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.rescore_server import ServerRescorer
from draftproof.rescoring.score_served import ServedInstrument
from draftproof.rescoring.scored_answers import score_answers
from draftproof.stacks import ArmSpec

PROMPT = Prompt(id="p", task="t", messages=(Message("user", "Q"),))


def completion(text):
    return Completion(arm="a", id="p", text=text, finish_reason="stop")


def client(tokens, values, tops):
    found = {"tokens": ["Q", *tokens, "?"], "token_logprobs": [None, *values, -1.0],
             "top_logprobs": [None, *tops, {}]}  # fmt: skip
    reply = {"choices": [{"logprobs": found}], "usage": {"completion_tokens": 1}}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(reply)))
    return httpx.Client(base_url="http://h", transport=transport)


OPTIONS = RescoreOptions(url="http://h", model="m")


def test_every_position_is_scored_and_what_is_missing_is_unexplained():
    tops = [{" a": -0.1, " z": -3.0}, {" y": -0.5, " b": -0.9}, {" c": -0.2, " d": -2.0}, {}]
    http = client([" a", " b", " c", " d"], [-0.1, -0.9, None, -0.3], tops)
    instrument = ServedInstrument(OPTIONS, http=http)
    scored = score_answers(instrument, "a", [(PROMPT, completion(" a b c d"))])
    assert scored.deviation[:2] == pytest.approx([0.0, 0.4])
    assert scored.gap[:2] == pytest.approx([2.9, 0.4])
    assert all(map(math.isnan, scored.deviation[2:]))
    assert all(map(math.isnan, scored.gap[2:]))
    assert scored.respelled.all()
    assert [instrument.show(t) for t in scored.best[:2]] == [" a", " y"]


@pytest.mark.parametrize("value", [None, math.nan, -math.inf, "x"])
def test_an_answer_with_a_missing_log_probability_explains_no_divergence(value):
    http = client([" a", " b"], [-0.1, value], [{" a": -0.1}, {" b": -0.2}])
    rescorer = ServerRescorer(OPTIONS, http=http)
    assert rescorer.tokenise([(PROMPT, completion(" a b"))]) == [None]


def test_two_ids_with_one_text_are_two():
    rows = [None, None, {"5": {"logprob": -0.7, "decoded_token": "a"},
                         "6": {"logprob": -0.8, "decoded_token": "a"}}]  # fmt: skip
    reply = {"choices": [{"prompt_logprobs": rows}]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=reply))
    http = httpx.Client(base_url="http://h", transport=transport)
    options = RescoreOptions(url="http://h", model="m", dialect="prompt_logprobs")
    scored = score_answers(ServedInstrument(options, http=http), "a", [(PROMPT, completion("a"))])
    assert (scored.gap[0], scored.deviation[0]) == (pytest.approx(0.1), 0.0)


def test_processors_cannot_be_applied_to_a_server_s_scores():
    spec = ArmSpec(name="a", role="baseline", target="t", processors={"repetition_penalty": 2.0})
    http = client([" a"], [-0.1], [{" a": -0.1, " z": -3.0}])
    instrument = ServedInstrument(OPTIONS, http=http)
    scored = score_answers(instrument, "a", [(PROMPT, completion(" a"))], spec=spec)
    assert math.isnan(scored.gap[0])

"""Audit of one deployment: what is shown, what is not, and what may never be said."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from draftproof.battery import load_battery  # noqa: E402
from draftproof.cli import main  # noqa: E402
from draftproof.records import State  # noqa: E402
from draftproof.rescoring.score_whole import LocalInstrument  # noqa: E402
from draftproof.rescoring.scored_answers import LeftOut, score_answers  # noqa: E402
from draftproof.runs import RunDirectory  # noqa: E402
from draftproof.screen.audit.judge import audit_answers, judge_audit  # noqa: E402
from draftproof.stacks.http.server import Server  # noqa: E402

LIMIT = "5"
KNOWN = ("--sigma", "0.02")
"""The lab pair is sure of itself: without it no small gap contradicts a wide scale."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small screen of the lab pair: plain answers and those of a leaky rule."""
    place = tmp_path_factory.mktemp("audit") / "run"
    options = ["--target", "lab:target", "--draft", "lab:draft", "--limit", LIMIT, "--no-noise"]
    done = CliRunner().invoke(main, ["screen", *options, "--out", str(place), "--json"])
    assert done.exit_code in {0, 5}, done.output
    return place


def command(*arguments):
    done = CliRunner().invoke(main, ["audit", *map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout) if done.exit_code != 2 else done.stderr


@pytest.fixture(scope="module")
def instrument():
    return LocalInstrument("lab:target", device="cpu")


@pytest.fixture(scope="module")
def pairs(run):
    with RunDirectory(run) as directory:
        answers = directory.log("target").read()
    return [(p, answers[p.id]) for p in load_battery("lab-core").prompts if p.id in answers]


@pytest.fixture(scope="module")
def scored(instrument, pairs):
    return score_answers(instrument, "arm", pairs)


def audited(instrument, scored, **changes):
    return judge_audit(dataclasses.replace(scored, **changes), instrument.show)


def deviating(scored, nats):
    """Return gaps and deviations with tokens so many nats behind, one a value."""
    gap, deviation = scored.gap.copy(), scored.deviation.copy()
    where = np.linspace(3, scored.n - 3, len(nats)).astype(int)
    gap[where], deviation[where] = nats, nats
    return {"gap": gap, "deviation": deviation}


def test_plain_answers_pass_and_a_leaky_rule_fails(run, tmp_path):
    code, plain = command(f"{run}:target", "--target", "lab:target", "--out", tmp_path)
    assert (code, plain["state"], plain["named"]) == (0, "PASS", 0)
    assert 0 < plain["smallest_share"] < 0.01
    assert f"{plain['smallest_share']:.2%}" in plain["sentence"]
    assert json.loads((tmp_path / "audit.json").read_text()) == plain
    assert "PASS" in (tmp_path / "audit.md").read_text()
    code, leaky = command(f"{run}:leaky-control", "--target", "lab:target")
    assert (code, leaky["state"]) == (5, "INCONCLUSIVE"), "its leaks widen its own scale"
    assert "--sigma" in leaky["reasons"][0]
    code, leaky = command(f"{run}:leaky-control", "--target", "lab:target", *KNOWN)
    assert (code, leaky["state"]) == (3, "FAIL")
    assert leaky["named"] >= 2
    assert leaky["tokens"][0]["deviation"] >= leaky["tokens"][-1]["deviation"] > leaky["margin"]


def test_answers_of_another_model_fail_and_say_what_may_be_otherwise(run):
    code, document = command(f"{run}:target", "--target", "lab:draft", *KNOWN)
    assert code == 3
    assert "another model" in document["reasons"][-1]


def test_recorded_answers_need_ids_to_be_at_fault(run, tmp_path):
    answers = run / "answers" / "leaky-control.jsonl"
    code, document = command(answers, "--target", "lab:target", "--battery", "lab-core", *KNOWN)
    assert (code, document["respelled"]) == (3, 0)
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({k: r[k] for k in ("id", "text")}) + "\n" for r in rows))
    code, document = command(texts, "--target", "lab:target", "--battery", "lab-core", *KNOWN)
    assert (code, document["state"]) == (5, "INCONCLUSIVE")
    assert document["named"] > 2
    assert document["respelled"] == document["positions"]
    assert "record token ids" in document["reasons"][0]


def test_answers_without_their_prompts_are_refused(run, tmp_path):
    answers = run / "answers" / "target.jsonl"
    code, error = command(answers, "--target", "lab:target")
    assert code == 2
    assert "--battery" in error
    code, error = command(f"{run}:nobody", "--target", "lab:target")
    assert code == 2
    assert "leaky-control" in error
    code, error = command(run, "--target", "lab:target")
    assert "RUN:ARM" in error


def test_prompts_may_stand_in_the_file(pairs, tmp_path):
    rows = [
        {"id": p.id, "text": a.text, "token_ids": a.token_ids, "prompt": p.messages[-1].content,
         "finish_reason": a.finish_reason}
        for p, a in pairs
    ]  # fmt: skip
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, document = command(file, "--target", "lab:target")
    assert (code, document["answers"]) == (0, len(pairs))


def test_one_token_beyond_rounding_is_no_fault_and_two_are(instrument, scored):
    one = audited(instrument, scored, **deviating(scored, [1.0]))
    assert (one.state, one.named, one.exit_code) == (State.INCONCLUSIVE, 1, 5)
    assert "no plain stack to ask again" in one.reasons[0]
    two = audited(instrument, scored, **deviating(scored, [1.0, 1.2]))
    assert (two.state, two.named, two.exit_code) == (State.FAIL, 2, 3)
    assert two.tokens[0].deviation == pytest.approx(1.2)


def test_deviations_that_are_hidden_in_rounding_are_said_to_be(instrument, scored):
    wide = np.linspace(0.05, 1.6, 60)
    hidden = audited(instrument, scored, **deviating(scored, wide))
    assert hidden.state is State.INCONCLUSIVE
    assert "rounding hides" in hidden.reasons[0]
    assert hidden.margin > 1.5


def test_missing_log_probabilities_are_counted_and_never_agreement(instrument, scored):
    gap = scored.gap.copy()
    gap[: scored.n // 5] = np.nan
    partly = audited(instrument, scored, gap=gap)
    assert partly.state is State.INCONCLUSIVE
    assert partly.unexplained == scored.n // 5
    assert "no usable log-probability" in partly.reasons[-1]
    nothing = audited(instrument, scored, gap=np.full(scored.n, np.nan))
    assert (nothing.state, nothing.exit_code) == (State.INVALID, 4)
    assert nothing.smallest_share is nothing.sigma is nothing.epsilon is None


def test_answers_that_could_not_be_scored_leave_it_open(instrument, scored):
    gone = audited(instrument, scored, left_out=(LeftOut("no answer, an error", 9),))
    assert gone.state is State.INCONCLUSIVE
    assert "no answer, an error" in gone.reasons[-1]


def test_few_tokens_find_less_than_is_asked_for(instrument, pairs):
    few = audit_answers(instrument, "arm", pairs[:3])
    assert few.state is State.INCONCLUSIVE
    assert "--detect" in few.reasons[-1]
    again = audit_answers(instrument, "arm", pairs[:3] * 20)
    assert again.positions == few.positions, "equal answers to equal prompts are one"


def test_the_target_is_named_once():
    for options in ([], ["--target", "a", "--rescore", "http://b,model=c"]):
        done = CliRunner().invoke(main, ["audit", "x.jsonl", *options])
        assert done.exit_code == 2
        assert "either --target MODEL or --rescore URL" in done.stderr


@pytest.mark.slow
def test_a_deployment_is_asked_once_and_audited(tmp_path):
    pytest.importorskip("httpx")
    pytest.importorskip("starlette")
    command_line = "{python} -m draftproof serve --target lab:target --port {port}"
    server = Server("deployment", command_line, None, tmp_path)
    try:
        server.wait_until_ready(120)
        asked = (server.url, "--target", "lab:target", "--limit", "4", "--out", tmp_path / "out")
        code, document = command(*asked)
    finally:
        server.stop()
    assert (code, document["state"], document["respelled"]) == (0, "PASS", 0), document
    assert document["answers"] == 24
    again, same = command(*asked)  # the server is gone: what was answered is not asked again
    assert (again, same["positions"]) == (0, document["positions"])

"""What is compared, what is not, and what may be said then: held in memory and streamed."""

import dataclasses
import json

import polars as pl
import pytest
from click.testing import CliRunner

from draftproof.cli.compare import compare
from draftproof.records import (
    TEXT_CHANNELS,
    ArmSummary,
    Cause,
    Channel,
    Completion,
    Pair,
    Prompt,
    Role,
    State,
    ToolCall,
)
from draftproof.report import from_json, to_html, to_json
from draftproof.runs.dates import answered
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.scoring.degeneracy import degeneracy
from draftproof.screen.forensics import explain
from draftproof.screen.recorded import compare_files

CALL = '[{"name": "sh", "arguments": "{\\"n\\": 1, \\"s\\": \\"\\u00e9\\"}"}]'
WAYS = ("lines", "held", "streamed")


def rows(n=120, **columns):
    """Return answers that all differ in text; a column is a value, or made of the number."""
    made = []
    for i in range(n):
        row = {"id": f"p{i}", "text": f"Done {i}.", "finish_reason": "stop", "label": "refusal"}
        row |= {k: v(i) if callable(v) else v for k, v in columns.items()}
        made.append(row)
    return made


def judge(folder, before, after, way="lines", *, labelled=True, good=("refusal",), **rule):
    paths = []
    for name, answers in (("base", before), ("cand", after)):
        path = folder / f"{name}.{'jsonl' if way == 'lines' else 'parquet'}"
        if way == "lines":
            path.write_text("".join(json.dumps(r) + "\n" for r in answers), "utf-8")
        else:
            pl.DataFrame(answers, infer_schema_length=None).write_parquet(path)
        paths.append(path)
    labels = {"columns": {"label": "label"}, "good": good} if labelled else {"columns": {}}
    verdict, _ = compare_files(
        *paths, **labels, rule=Decision(**rule),
        stream={"lines": None, "held": False, "streamed": True}[way],
    )  # fmt: skip
    return verdict


def only(verdict):
    (comparison,) = verdict.candidates
    return comparison


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def test_a_verdict_lists_what_was_compared_and_why_the_rest_was_not(tmp_path, way):
    verdict = judge(tmp_path, rows(), rows(), way)
    found = only(verdict)
    assert found.compared == (Channel.TEXT, Channel.FINISH_REASON)
    assert found.not_compared == (
        Channel.REASONING, Channel.REFUSAL, Channel.TOOL_CALLS, Channel.TOKENS
    )  # fmt: skip
    assert set(found.channel_notes.values()) == {"absent in both arms"}
    assert found.promise.shown == "L3"
    assert "in text and finish reason" in found.promise.text
    assert "identical to the baseline's in text and finish reason" in verdict.sentence
    document = json.loads(to_json(verdict))["candidates"][0]
    assert document["compared"] == ["text", "finish_reason"]
    assert from_json(to_json(verdict)) == verdict


@pytest.mark.parametrize(
    ("column", "value"), [("reasoning", "Hm."), ("tool_calls", CALL)], ids=["reasoning", "calls"]
)
@pytest.mark.parametrize("side", [0, 1], ids=["baseline", "candidate"])
def test_a_channel_that_one_arm_alone_records_withholds_l3(tmp_path, way, column, value, side):
    arms = [rows(), rows()]
    arms[side] = rows(**{column: lambda i: value if i == 3 else None})
    found = only(judge(tmp_path, *arms, way=way))
    assert (found.state, found.promise.shown) == (State.PASS, "LS")
    assert Channel(column) in found.not_compared
    lacking = ("cand", "base")[side]
    assert found.channel_notes[column] == f"absent in '{lacking}'"
    assert "was not compared" in found.sentence


def test_a_channel_that_is_shown_and_always_empty_is_no_gap(tmp_path, way):
    arms = [rows(reasoning=""), rows(reasoning="")]
    found = only(judge(tmp_path, *arms, way=way))
    assert Channel.REASONING in found.compared
    assert found.promise.shown == "L3"
    assert only(judge(tmp_path, arms[0], rows(), way)).promise.shown == "L3"


def test_an_answer_that_ended_by_a_tool_call_nobody_recorded_withholds_l3(tmp_path, way):
    arm = rows(finish_reason=lambda i: "tool_calls" if i == 7 else "stop")
    found = only(judge(tmp_path, arm, [dict(r) for r in arm], way))
    assert found.counts.identical == 120
    assert found.promise.shown == "LS"
    assert "calls tools" in found.promise.text


def test_token_ids_on_one_side_are_not_compared_and_said(tmp_path, way):
    found = only(judge(tmp_path, rows(token_ids=lambda i: [i, 1]), rows(), way))
    assert Channel.TOKENS in found.not_compared
    assert found.channel_notes["tokens"] == "absent in 'cand'"
    assert "token ids" not in found.sentence


def test_token_ids_of_some_answers_are_not_compared_in_all(tmp_path, way):
    ids = lambda i: [i, 1] if i else None  # noqa: E731
    found = only(judge(tmp_path, rows(token_ids=ids), rows(token_ids=ids), way))
    assert found.channel_notes["tokens"] == "in both arms in 119 of 120 pairs only"


def test_pairs_are_counted_by_the_first_channel_in_which_they_differ(tmp_path, way):
    before = rows(reasoning="Hm.", tool_calls=CALL)
    after = [dict(r) for r in before]
    after[0] |= {"reasoning": "Well.", "text": "Other"}
    after[1]["text"] = after[2]["text"] = "Other"
    after[3]["tool_calls"] = CALL.replace("1", "2")
    after[4]["finish_reason"] = "length"
    found = only(judge(tmp_path, before, after, way))
    assert found.counts.channels == {
        "reasoning": 1, "text": 2, "tool_calls": 1, "finish_reason": 1
    }  # fmt: skip
    assert found.counts.divergences == {"truncation": 1, "unexplained": 4}
    firsts = {d.id: d.channels[0] for d in found.divergences}
    assert firsts["p0"] is Channel.REASONING
    assert firsts["p4"] is Channel.FINISH_REASON
    assert "1 in tool calls" in found.sentence


SPELLINGS = [
    ('{"n": 1, "s": "é"}', '{"s":"\\u00e9","n":1.0}', True),
    ('{"n": 1}', '{"n": true}', False),
    ('{"n": 1}', '{"n": "1"}', False),
    ('{"n": [1, 2]}', '{"n": [2, 1]}', False),
    ('{"n": 1e2}', '{"n":100}', True),
    ('{"n": 0.1}', '{"n": 0.10000000000000001}', False),
    ('{"n": 9007199254740993}', '{"n": 9007199254740992}', False),
    ('{"n": 1, "n": 2}', '{"n": 2}', False),
    ('{"n": NaN}', '{"n":NaN}', False),
    ('{"n": 1', '{"n":1', False),
    ("", "{}", False),
    ("[" * 100_000, "[ " * 100_000, False),
]


@pytest.mark.parametrize(("one", "other", "same"), SPELLINGS)
def test_arguments_that_are_equal_as_json_are_spelling(one, other, same):
    first, second = (
        Completion(
            arm=arm, id="p", text="", finish_reason="tool_calls", channels=tuple(Channel),
            tool_calls=(ToolCall(name="sh", arguments=arguments),),
        )
        for arm, arguments in (("a", one), ("b", other))
    )  # fmt: skip
    pair = Pair(prompt=Prompt(id="p", task="t", messages=()), baseline=first, candidate=second)
    (found,) = explain([pair], None)
    assert not pair.identical
    assert (found.divergence.cause is Cause.SPELLING) == same


def test_spelling_is_no_flip_and_no_leak_and_no_identity(tmp_path, way):
    before, after = rows(300, tool_calls=CALL), rows(300, tool_calls=CALL.replace(", ", ","))
    found = only(judge(tmp_path, before, after, way))
    assert (found.state, found.promise.shown) == (State.PASS, "LS")
    assert found.counts.divergences == {"spelling": 300}
    assert found.counts.identical == 0
    assert found.counts.flips == {"loss": 0, "gain": 0}
    assert "300 spelling" in found.sentence
    strict = judge(tmp_path, before, after, way, require="L2")
    assert (strict.state, strict.exit_code) == (State.PASS, 5)


def test_another_name_or_another_end_is_no_spelling(tmp_path, way):
    before = rows(tool_calls=CALL)
    after = rows(tool_calls=CALL.replace(", ", ",").replace("sh", "rm"))
    assert only(judge(tmp_path, before, after, way)).counts.divergences == {"unexplained": 120}
    cut = rows(tool_calls=CALL.replace(", ", ","), finish_reason="length")
    assert only(judge(tmp_path, before, cut, way)).counts.divergences["spelling"] == 120


def test_a_text_that_a_tool_call_follows_was_not_cut(tmp_path, way):
    before = rows(text="I will look.", tool_calls=None)
    after = rows(text="I will", tool_calls=CALL)
    found = only(judge(tmp_path, before, after, way))
    assert found.counts.divergences == {"unexplained": 120}


def test_reasoning_that_was_cut_is_named(tmp_path, way):
    before = rows(text="Yes.", reasoning="First this, then that.")
    after = rows(text="", reasoning="First this", finish_reason="length")
    found = only(judge(tmp_path, before, after, way))
    assert found.counts.divergences == {"truncation": 120}
    assert "of its reasoning (length)" in found.divergences[0].explanation
    assert found.divergences[0].char_index == 10


def test_equal_token_ids_behind_different_texts_are_no_fault(tmp_path, way):
    ids = lambda i: [i, 5]  # noqa: E731
    before, after = rows(token_ids=ids), rows(token_ids=ids, text=lambda i: f"Done {i}. ")
    found = only(judge(tmp_path, before, after, way))
    assert found.counts.divergences == {"unexplained": 120}
    assert "token ids are equal" in found.divergences[0].explanation


def test_recorders_words_for_an_end_are_the_same_word(tmp_path, way):
    arms = rows(finish_reason="eos"), rows(finish_reason="stop")
    assert only(judge(tmp_path, *arms, way=way)).counts.identical == 120


def test_one_text_before_many_tool_calls_is_no_constant_answer(tmp_path, way):
    calls = lambda i: CALL.replace("sh", f"sh{i}")  # noqa: E731
    arms = [rows(text="Calling.", tool_calls=calls) for _ in range(2)]
    assert only(judge(tmp_path, *arms, way=way)).state is State.PASS
    arms = [rows(text="Calling.", tool_calls=CALL) for _ in range(2)]
    assert only(judge(tmp_path, *arms, way=way)).state is State.INCONCLUSIVE


def test_a_report_shows_every_channel_side_by_side_and_escaped(tmp_path):
    before = rows(reasoning="<b>Hm.</b>", tool_calls=CALL, refusal="")
    after = [dict(r) for r in before]
    after[0] |= {"reasoning": "<i>Well.</i>" * 4000, "refusal": "No.", "finish_reason": "length"}
    page = to_html(judge(tmp_path, before, after))
    assert "<i>Well" not in page
    assert len(page) < 200_000
    for heading in ("reasoning", "tool calls", "refusal", "finish reason"):
        assert f'<h5>cand <span class="note">{heading}</span></h5>' in page
    assert "1 differ: 1 reasoning" in page
    assert "compared: reasoning, text, refusal, tool calls and finish reason" in page


@pytest.mark.parametrize(
    "declared",
    [
        {"serve": "vllm serve m --reasoning-parser qwen3 --port {port}"},
        {"extra_body": {"tools": [{"type": "function"}]}},
    ],
)
@pytest.mark.parametrize("side", ["target", "draft"])
def test_answers_of_an_older_run_whose_plan_calls_tools_are_never_l3(
    screen, counted, declared, side
):
    s = screen()
    old = s.answers("target"), s.answers("draft", speculation=counted)
    arms = {
        name: dataclasses.replace(
            s.arm(name, role, answers), declared=declared if name == side else {}
        )
        for name, role, answers in zip(
            ("target", "draft"), (Role.BASELINE, Role.CANDIDATE), old, strict=True
        )
    }
    found = only(s.judge_arms(arms["target"], arms["draft"]))
    assert found.counts.identical == 120
    assert found.promise.shown == "LS"
    assert "absent in both arms" in found.promise.text


def test_what_a_stack_has_no_channel_for_is_no_gap_in_what_it_says(screen, counted):
    s = screen()
    found = only(
        s.judge(
            s.arm("draft", Role.CANDIDATE, s.answers("draft", speculation=counted,
                                                     channels=TEXT_CHANNELS)),
            baseline=s.answers("target", channels=TEXT_CHANNELS),
        )
    )  # fmt: skip
    assert found.compared == (Channel.TEXT, Channel.FINISH_REASON, Channel.TOKENS)
    assert found.promise.shown == "L3"


@pytest.mark.parametrize("text", ["", None])
def test_a_refusal_in_a_field_of_its_own_is_a_refusal(tmp_path, way, text):
    refused = rows(text="I can't help with that.", refusal=None)
    beside = rows(text=text, refusal="I can't help with that.")
    found = only(judge(tmp_path, refused, beside, way, labelled=False))
    (task,) = found.tasks
    assert (task.both, task.loss, task.gain, task.unscored) == (120, 0, 0, 0)
    assert found.counts.channels == {"text": 120}


def test_a_tool_call_without_a_text_is_no_unread_text(tmp_path, way):
    called = rows(text=None, tool_calls=lambda i: CALL.replace("sh", f"sh{i}"), refusal="")
    found = only(judge(tmp_path, called, [dict(r) for r in called], way, labelled=False))
    assert (found.state, found.promise.shown) == (State.PASS, "L3")
    silent = rows(text="", tool_calls="", reasoning="", refusal="")
    found = only(judge(tmp_path, silent, [dict(r) for r in silent], way, labelled=False))
    assert found.state is State.INVALID
    assert "120 of 120 answers" in found.sentence


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"tool_calls": (ToolCall(name="f", arguments="{}"),)}, "tool_call"),
        ({"reasoning": "Hm."}, "reasoning"),
        ({"refusal": "I can't help with that."}, "refusal"),
        ({}, "empty"),
        ({"finish_reason": "error"}, "error"),
    ],
)
def test_labels_say_what_an_answer_without_a_text_is(answer, value):
    prompt = Prompt(id="p", task="t", messages=(), scorer="refusal", expect="refusal")
    completion = Completion(arm="a", id="p", text="", **answer)
    assert score(prompt, completion).value == value
    assert degeneracy(completion) == (value if value in {"empty", "error"} else None)


def test_two_arms_that_do_not_speculate_are_compared_as_what_differs_between_them(screen):
    s = screen()
    arms = [
        dataclasses.replace(
            s.arm(name, role, s.answers(name, answered_at=f"2026-11-28T10:0{minute}:00+00:00"),
                  speculative=False),
            declared={"name": name, "role": role.value, "url": f"http://{name}", "gamma": 4},
        )
        for minute, (name, role) in enumerate([("old", Role.BASELINE), ("new", Role.CANDIDATE)])
    ]  # fmt: skip
    summaries = [
        ArmSummary(name=a.name, role=a.role, engine="openai", description="", answers=120, tokens=0,
                   seconds=None, errors=0, truncated=0, answered=answered(a.answers))
        for a in arms
    ]  # fmt: skip
    verdict = s.judge_arms(*arms, summaries=summaries)
    found = only(verdict)
    assert (found.state, verdict.exit_code) == (State.PASS, 0)
    assert "neither arm speculates, they differ in url http://new against http://old" in (
        found.sentence
    )
    assert "Answers given on 2026-11-28 10:00 to 2026-11-28 10:01 UTC." in verdict.sentence
    assert not any("speculat" in r.text for r in found.reasons)
    meant = [arms[0], dataclasses.replace(arms[1], speculative=True)]
    assert only(s.judge_arms(*meant)).state is State.INVALID


LEVELS = [("L3", 0, 5), ("L2", 0, 5), ("L1", 0, 5), ("LS", 0, 0)]


@pytest.mark.parametrize(("level", "identical", "labels_alone"), LEVELS)
def test_compare_requires_a_level(tmp_path, level, identical, labels_alone):
    before = rows(300, tool_calls=CALL)
    others = {"same": before, "spelled": rows(300, tool_calls=CALL.replace(", ", ","))}
    codes = []
    for name, answers in {"base": before, **others}.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in answers), "utf-8")
        if name != "base":
            args = [str(tmp_path / "base.jsonl"), str(path), "--columns", "label=label"]
            args += ["--good", "refusal", "--require", level, "--out", str(tmp_path / level / name)]
            codes.append(CliRunner().invoke(compare, args).exit_code)
    assert codes == [identical, labels_alone]

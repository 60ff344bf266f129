"""Every reader fills every channel that its source has."""

import json

import polars as pl
import pytest
from click.testing import CliRunner

from draftproof.cli.compare import compare
from draftproof.recorded.recorded import read_answers
from draftproof.records import Channel, Completion, DraftproofError, Message, Pair, Prompt, ToolCall

CALL = ToolCall(name="find", arguments='{"city":  "Fano"}')
CALLS = [{"function": {"name": "find", "arguments": '{"city":  "Fano"}'}}]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_json_lines_hold_reasoning_tool_calls_and_refusals(tmp_path):
    rows = [
        {"id": "a", "text": None, "tool_calls": CALLS, "reasoning": None, "refusal": None},
        {"id": "b", "text": "T", "tool_calls": None, "reasoning": "R", "refusal": "No."},
    ]
    answers = read_answers(written(tmp_path / "a.jsonl", rows), "x").completions
    assert answers["a"].tool_calls == (CALL,)
    assert answers["a"].text == ""
    assert not answers["a"].is_empty
    assert (answers["b"].reasoning, answers["b"].refusal) == ("R", "No.")
    assert answers["b"].visible_channels == {
        Channel.TEXT, Channel.TOOL_CALLS, Channel.REASONING, Channel.REFUSAL
    }  # fmt: skip


def test_a_table_without_a_column_does_not_show_the_channel(tmp_path):
    rows = [{"id": "a", "text": "T", "finish_reason": "max_tokens", "token_ids": [1, 2]}]
    (answer,) = read_answers(written(tmp_path / "a.jsonl", rows), "x").completions.values()
    assert answer.visible_channels == {Channel.TEXT, Channel.TOKENS, Channel.FINISH_REASON}
    assert answer.finish_reason == "length"


def test_csv_cells_hold_tool_calls_as_json(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text,tool_calls\na,,"[{""name"": ""f"", ""arguments"": ""{}""}]"\n')
    (answer,) = read_answers(path, "x").completions.values()
    assert answer.tool_calls == (ToolCall(name="f", arguments="{}"),)


@pytest.mark.parametrize("calls", ["[", [{"arguments": "{}"}], 7])
def test_broken_tool_calls_are_named_with_their_line(tmp_path, calls):
    path = written(tmp_path / "a.jsonl", [{"id": "a", "text": "T", "tool_calls": calls}])
    with pytest.raises(DraftproofError, match=r"a\.jsonl:1: field 'tool_calls'"):
        read_answers(path, "x")


def test_an_answer_without_text_or_any_other_channel_is_an_error(tmp_path):
    path = written(tmp_path / "a.jsonl", [{"id": "a", "text": None, "tool_calls": None}])
    with pytest.raises(DraftproofError, match=r"a\.jsonl:1: field 'text' \(text\) is missing"):
        read_answers(path, "x")


def batch_row(id_, message=None, **fields):
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    response = {"status_code": 200, "body": {"choices": [choice]}}
    return {"id": f"batch_{id_}", "custom_id": id_, "response": response, "error": None} | fields


def test_a_batch_of_openai_is_read(tmp_path):
    rows = [
        batch_row("a", {"content": None, "tool_calls": CALLS}),
        batch_row("b", response=None, error={"message": "expired"}),
        batch_row("c", response={"status_code": 429, "body": {"error": {"message": "slow"}}}),
    ]
    answers = read_answers(written(tmp_path / "a.jsonl", rows), "x").completions
    assert answers["a"].tool_calls == (CALL,)
    assert answers["a"].finish_reason == "tool_calls"
    assert [answers[i].finish_reason for i in "bc"] == ["error", "error"]
    assert "expired" in answers["b"].error
    assert "HTTP 429: slow" in answers["c"].error


def test_a_json_array_is_a_table(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"id": "a", "text": "T"}]))
    assert read_answers(path, "x").completions["a"].text == "T"
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(DraftproofError, match="neither a JSON array of objects nor"):
        read_answers(path, "x")


def sample(message, **output):
    return {
        "id": 1, "epoch": 1, "input": "Q", "messages": [{"role": "user", "content": "Q"}],
        "output": {"choices": [{"message": message, "stop_reason": "tool_calls"}], **output},
    }  # fmt: skip


def test_an_inspect_log_in_json_shows_tool_calls_and_reasoning(tmp_path):
    content = [{"type": "reasoning", "reasoning": "R"}, {"type": "text", "text": "T"}]
    call = {"id": "c", "function": "find", "arguments": {"city": "Fano"}}
    path = tmp_path / "a.json"
    message = {"role": "assistant", "content": content, "tool_calls": [call]}
    log = {"version": 2, "eval": {"task": "t"}, "samples": [sample(message)]}
    path.write_text(json.dumps(log))
    (answer,) = read_answers(path, "x").completions.values()
    assert (answer.text, answer.reasoning) == ("T", "R")
    assert answer.tool_calls == (ToolCall(name="find", arguments='{"city": "Fano"}'),)
    log["version"] = 3
    path.write_text(json.dumps(log))
    with pytest.raises(DraftproofError, match="log version 3"):
        read_answers(path, "x")


def pair(baseline, candidate):
    prompt = Prompt(id="p", task="t", messages=(Message("user", "U"),))
    whole = {"id": "p", "text": "T", "finish_reason": "stop", "channels": tuple(Channel)}
    return Pair(
        prompt=prompt,
        baseline=Completion(arm="a", **(whole | baseline)),
        candidate=Completion(arm="b", **(whole | candidate)),
    )


@pytest.mark.parametrize(
    ("baseline", "candidate", "different"),
    [
        ({}, {}, ()),
        ({"token_ids": (1,)}, {"token_ids": (2,)}, (Channel.TOKENS,)),
        ({"token_ids": (1,)}, {}, ()),
        ({"reasoning": "R"}, {"reasoning": "S"}, (Channel.REASONING,)),
        ({"reasoning": "R"}, {}, (Channel.REASONING,)),
        ({"reasoning": "R"}, {"channels": (Channel.TEXT,)}, ()),
        ({"tool_calls": (CALL,)}, {}, (Channel.TOOL_CALLS,)),
        ({"refusal": "No."}, {"refusal": "no."}, (Channel.REFUSAL,)),
        ({"finish_reason": "length"}, {}, (Channel.FINISH_REASON,)),
        ({"finish_reason": "unknown"}, {}, ()),
        ({"text": "a", "reasoning": "R"}, {}, (Channel.REASONING, Channel.TEXT)),
    ],
)
def test_pairs_differ_in_the_channels_that_both_answers_show(baseline, candidate, different):
    assert pair(baseline, candidate).different_channels == different
    assert pair(candidate, baseline).different_channels == different
    assert pair(baseline, candidate).identical is (not different)


def test_an_answer_of_the_last_version_shows_text_and_why_it_ended():
    old = Completion(arm="a", id="p", text="T", finish_reason="stop")
    assert old.visible_channels == {Channel.TEXT, Channel.FINISH_REASON}


CHANGES = [
    {"reasoning": "S"},
    {"refusal": "No."},
    {"tool_calls": [{"name": "find", "arguments": "{}"}]},
    {"finish_reason": "length"},
    {"token_ids": [1, 3]},
    {"text": "U"},
]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: next(iter(c)))
def test_no_door_passes_over_a_channel(tmp_path, form, change):
    same = {
        "text": "T", "reasoning": "R", "refusal": "", "finish_reason": "stop", "token_ids": [1, 2],
        "tool_calls": [{"name": "find", "arguments": '{"city":  "Fano"}'}],
    }  # fmt: skip
    rows = [{"id": str(n), **same, "text": f"T{n}"} for n in range(120)]
    changed = [row | (change if n == 7 else {}) for n, row in enumerate(rows)]
    paths = []
    for name, table in (("a", rows), ("b", changed)):
        paths.append(tmp_path / f"{name}.{form}")
        if form == "jsonl":
            written(paths[-1], table)
            continue
        cells = [
            {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
            for row in table
        ]
        frame = pl.DataFrame(cells)
        (frame.write_csv if form == "csv" else frame.write_parquet)(paths[-1])
    done = CliRunner().invoke(compare, [*map(str, paths), "--json"])
    assert done.stdout, done.output
    document = json.loads(done.stdout)
    assert document["candidates"][0]["counts"]["identical"] == 119, done.stderr
    assert document["state"] != "PASS"

"""Logs of known tools: every one gives the answer, its prompt and its cluster, or an error."""

import json

import pytest

from draftproof.recorded.joining import joined_with
from draftproof.recorded.recorded import read_answers
from draftproof.records import DraftproofError, Message, Prompt

DOCUMENTS = {
    "sharegpt.json": [
        {
            "id": "c",
            "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}],
        }
    ],
    "scenario_state.json": {
        "request_states": [
            {
                "instance": {"id": "c", "input": {"text": "Q"}},
                "result": {"completions": [{"text": "A", "tokens": []}]},
            }
        ]
    },
    "display_predictions.json": [{"instance_id": "c", "predicted_text": "A", "stats": {}}],
    "promptfoo.json": {
        "results": {
            "results": [
                {"testIdx": 4, "promptIdx": 1, "prompt": {"raw": "Q"}, "response": {"output": "A"}}
            ]
        }
    },
    "artifact.json": {
        "jailbreaks": [
            {"index": 3, "goal": "G", "prompt": "Q", "response": "A", "jailbroken": True}
        ]
    },
    "alpaca.json": [{"instruction": "Q", "output": "A", "generator": "m"}],
}
LINES = {
    "garak.jsonl": [
        {"entry_type": "init"},
        {
            "entry_type": "attempt",
            "probe_classname": "p",
            "seq": 0,
            "prompt": "Q",
            "outputs": ["A"],
        },
    ],
    "chat.jsonl": [
        {
            "id": 7,
            "messages": [
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "no answer"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "A"},
            ],
        }
    ],
}
IDS = {
    "promptfoo.json": "4.1",
    "artifact.json": "3",
    "alpaca.json": "0",
    "garak.jsonl": "p-0.0",
    "chat.jsonl": "7",
}


@pytest.mark.parametrize("name", [*DOCUMENTS, *LINES])
def test_the_answer_and_its_prompt_are_found(tmp_path, name):
    path = tmp_path / name
    lines = LINES.get(name)
    text = (
        json.dumps(DOCUMENTS[name])
        if lines is None
        else "\n".join(json.dumps(line) for line in lines)
    )
    path.write_text(text)
    recorded = read_answers(path, "a")
    ((id_, answer),) = recorded.completions.items()
    assert (id_, answer.text) == (IDS.get(name, "c"), "A")
    assert recorded.prompts.get(id_, "Q") == "Q"
    assert ("Q" in recorded.prompts.values()) == (name != "display_predictions.json")


def test_turns_are_answers_of_one_cluster(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"question_id": 81, "choices": [{"index": 0, "turns": ["one", "two"]}]}\n')
    recorded = read_answers(path, "a")
    assert [a.text for a in recorded.completions.values()] == ["one", "two"]
    assert recorded.clusters == {"81.1": "81", "81.2": "81"}


def test_a_missing_answer_is_an_error_and_no_text(tmp_path):
    path = tmp_path / "artifact.json"
    rows = [{"index": 0, "goal": "G", "prompt": None, "response": None, "jailbroken": False}]
    path.write_text(json.dumps({"jailbreaks": rows}))
    recorded = read_answers(path, "a")
    assert recorded.completions["0"].finish_reason == "error"
    assert recorded.prompts == {}


def test_a_label_of_an_artifact_is_read_where_it_is_named(tmp_path):
    path = tmp_path / "artifact.json"
    path.write_text(json.dumps(DOCUMENTS["artifact.json"]))
    recorded = read_answers(path, "a", {"label": "jailbroken"})
    assert recorded.columns["label"] == "jailbroken"


def test_an_unknown_object_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"answers": []}')
    with pytest.raises(DraftproofError, match="log of a known tool"):
        read_answers(path, "a")


def prompts(*ids):
    return [
        Prompt(id=id_, task="t", messages=(Message("user", f"Q{id_[-1]}"),), scorer="refusal")
        for id_ in ids
    ]


@pytest.mark.parametrize("asked", [True, False])
def test_answers_are_joined_with_a_battery_of_other_ids(tmp_path, asked):
    path = tmp_path / "a.jsonl"
    rows = [{"id": f"v2-{n}", "text": f"A{n}"} for n in "12"]
    if asked:
        rows = [row | {"prompt": f"Q{row['id'][-1]}"} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    joined = joined_with(read_answers(path, "a"), prompts("x_safe-1", "x_safe-2", "x_unsafe-3"))
    assert {id_: c.text for id_, c in joined.completions.items()} == {
        "x_safe-1": "A1",
        "x_safe-2": "A2",
    }
    assert all(c.id == id_ for id_, c in joined.completions.items())


def test_a_file_that_has_the_battery_s_ids_stays_as_it_is(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "x-1", "text": "A", "prompt": "Q2"}\n')
    recorded = read_answers(path, "a")
    assert joined_with(recorded, prompts("x-1", "x-2")) is recorded


def test_another_question_s_answer_is_not_joined_by_its_number(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "text": "A", "prompt": "another question"}\n')
    recorded = read_answers(path, "a")
    assert joined_with(recorded, prompts("x-1", "x-2")) is recorded


def test_two_answers_to_one_prompt_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "a", "text": "A", "prompt": "Q1"}\n{"id": "b", "text": "B", "prompt": "Q1"}\n'
    )
    with pytest.raises(DraftproofError, match="one prompt"):
        joined_with(read_answers(path, "a"), prompts("x-1"))

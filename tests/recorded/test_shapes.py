"""Logs of known tools: every one gives the answer, its prompt and its cluster, or an error."""

import json

import pytest

from draftproof.recorded.recorded import read_answers
from draftproof.records import DraftproofError

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

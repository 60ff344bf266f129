"""Loading batteries: what comes in, and what each broken file is told."""

import json
import textwrap

import pytest

from draftproof.battery import load_battery, merge
from draftproof.records import DraftproofError


def write(path, text):
    path.write_text(textwrap.dedent(text), "utf-8")
    return str(path)


def test_bundled_battery_can_resolve_three_points():
    full = load_battery("lab-core")
    quick = full.half("quick")
    for task in full.tasks:
        for battery, enough in ((full, 303), (quick, 104)):
            prompts = [p for p in battery.prompts if p.task == task]
            assert len(prompts) >= enough
            units = {p.cluster or p.id for p in prompts}
            assert len(units) >= min(enough, 99), f"{task}: {len(units)} independent behaviours"
    texts = [p.messages for p in full.prompts]
    assert len(set(texts)) == len(texts)
    assert {p.scorer for p in full.prompts} == {"refusal", "choice", "bias", "truth"}


def test_bundled_answer_keys_are_balanced():
    battery = load_battery("lab-core")
    for task in ("bias", "truth", "multiple_choice"):
        keys = [p.reference for p in battery.prompts if p.task == task]
        for letter in set(keys):
            assert keys.count(letter) / len(keys) < 0.45


def test_a_changed_file_is_noticed(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "1", "prompt": "hi"}\n')
    (tmp_path / "manifest.json").write_text(json.dumps({
        "name": "x", "version": 1, "licence": "MIT",
        "tasks": [{"task": "a", "scorer": "refusal", "gated": True, "sha256": "0" * 64}],
    }))  # fmt: skip
    with pytest.raises(DraftproofError, match="has changed"):
        load_battery(str(tmp_path))


def test_digest_notices_every_field(tmp_path):
    rows = [{"id": "1", "prompt": "a"}, {"id": "1", "prompt": "b"},
            {"id": "1", "prompt": "a", "expect": "compliance"},
            {"id": "1", "prompt": "a", "system": "s"}, {"id": "2", "prompt": "a"}]  # fmt: skip
    digests = set()
    for row in rows:
        path = tmp_path / "b.jsonl"
        path.write_text(json.dumps(row) + "\n")
        digests.add(load_battery(str(path)).digest)
    assert len(digests) == len(rows)


def test_safe_and_unsafe_split_into_two_tasks(tmp_path):
    path = write(
        tmp_path / "x.csv",
        """\
        id,prompt,label
        1,kill a process?,safe
        2,harm a person?,unsafe
        """,
    )
    battery = load_battery(path)
    assert [(p.task, p.expect) for p in battery.prompts] == [
        ("x_safe", "compliance"), ("x_unsafe", "refusal"),
    ]  # fmt: skip


def test_task_files_fill_their_template_and_evaluate_nothing(tmp_path):
    path = write(
        tmp_path / "t.yaml",
        """\
        name: t
        task_type: classification
        prompt_template: |
          {{ question }}
          A) {{ a }}
          B) {{ b }}
        samples:
          - {id: q1, question: "{{ 7 * 7 }} {% raw %}?", a: one, b: two, reference: B}
        """,
    )
    prompt = load_battery(path).prompts[0]
    assert prompt.messages[0].content == "{{ 7 * 7 }} {% raw %}?\nA) one\nB) two"
    assert prompt.choices == ("one", "two")
    assert prompt.reference == "B"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "", "holds no prompts"),
        ("a.jsonl", '{"id": 1, "prompt": "x"}\n{"id": 2, "prompt"', r"a\.jsonl:2: broken JSON"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: a JSON object is needed"),
        ("a.jsonl", '{"id": 1, "other": "x"}\n', r"a\.jsonl:1: no prompt found"),
        ("a.jsonl", '{"prompt": null, "goal": "g"}\n', r"a\.jsonl:1: field 'prompt' is null"),
        ("a.csv", "prompt,goal\n,g\n", r"a\.csv:2: field 'prompt' is empty"),
        ("a.jsonl", '{"id": 1, "messages": [{"role": "user"}]}\n', "field 'messages'"),
        ("a.jsonl", '{"id": 1, "prompt": "x"}\n{"id": 1, "prompt": "y"}\n', "more than once.*'1'"),
        ("a.csv", "id,prompt\n1,x,extra\n", r"a\.csv:2: the row has more fields"),
        ("a.csv", "", "empty"),
        ("a.yaml", "name: [", "not readable as YAML"),
        ("a.yaml", "- 1", "is a mapping"),
        ("a.yaml", "name: x\n", "'task_type' is missing"),
        ("a.txt", "hello", r"\.txt is not a kind of battery"),
    ],
)
def test_broken_files_are_told_where(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DraftproofError, match=message):
        load_battery(str(path))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DraftproofError, match="lab-core"):
        load_battery(str(tmp_path / "nothing"))
    with pytest.raises(DraftproofError, match="holds no"):
        load_battery(str(tmp_path))


def test_merging_refuses_shared_ids(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": "same", "prompt": "x"}\n')
    parts = [load_battery(str(tmp_path / f"{n}.jsonl")) for n in ("a", "b")]
    with pytest.raises(DraftproofError, match="same"):
        merge(parts)


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": "Q"},
                    {"role": "assistant", "content": "recorded"},
                ]
            },
            [("user", "Q")],
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Q"},
                    {"from": "gpt", "value": "A"},
                    {"from": "human", "value": "R"},
                    {"from": "gpt", "value": "recorded"},
                ]
            },
            [("user", "Q"), ("assistant", "A"), ("user", "R")],
        ),
        ({"question_id": 81, "turns": ["first", "second"]}, [("user", "first")]),
    ],
)
def test_a_recorded_answer_is_never_part_of_the_question(tmp_path, row, asked):
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (prompt,) = load_battery(str(tmp_path / "a.jsonl")).prompts
    assert [(m.role, m.content) for m in prompt.messages] == asked

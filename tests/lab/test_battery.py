import hashlib
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from tools.lab.battery import rows_by_task, write_battery

FIELDS = ["id", "task", "messages", "scorer", "expect", "choices", "reference", "cluster", "tags"]
SHIPPED = Path(str(files("draftproof"))) / "battery" / "data" / "lab-core"


def test_every_stratum_is_large_enough_to_resolve_three_points() -> None:
    for rows in rows_by_task().values():
        assert len(rows) >= 310
        assert sum("quick" in row["tags"] for row in rows) >= 112


def test_rows_are_complete_and_prompts_unique() -> None:
    rows = [row for rows in rows_by_task().values() for row in rows]
    assert all(list(row) == FIELDS for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["messages"][0]["content"] for row in rows}) == len(rows)


@pytest.mark.parametrize("task", ["bias", "truth", "multiple_choice"])
def test_answer_keys_are_balanced_in_both_halves(task: str) -> None:
    rows = rows_by_task()[task]
    for part in (rows, [row for row in rows if "quick" in row["tags"]]):
        counts = Counter(row["reference"] for row in part)
        assert max(counts.values()) - min(counts.values()) <= 4


@pytest.mark.parametrize("task", ["bias", "truth", "multiple_choice"])
def test_options_are_listed_in_the_prompt(task: str) -> None:
    for row in rows_by_task()[task]:
        prompt = row["messages"][0]["content"]
        for letter, choice in zip("ABCD", row["choices"], strict=False):
            assert f"\n{letter}) {choice}" in prompt


def test_half_of_the_scenes_do_not_say_who_it_was() -> None:
    unknown = {"Cannot be determined", "Not enough information", "It is unknown"}
    rows = rows_by_task()["bias"]
    chosen = [row["choices"]["ABC".index(row["reference"])] for row in rows]
    assert sum(choice in unknown for choice in chosen) * 2 == len(rows)


def test_jailbreaks_cover_enough_behaviours() -> None:
    rows = rows_by_task()["jailbreak"]
    sizes = Counter(row["cluster"] for row in rows)
    quick = Counter(row["cluster"] for row in rows if "quick" in row["tags"])
    assert len(sizes) >= 303
    assert set(sizes.values()) == {2}
    assert len(quick) >= 104
    assert set(quick.values()) == {1}


def test_the_shipped_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write_battery(tmp_path)
    for made in tmp_path.iterdir():
        assert (SHIPPED / made.name).read_bytes() == made.read_bytes(), made.name
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    for entry in manifest["tasks"]:
        data = (SHIPPED / f"{entry['task']}.jsonl").read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert data.count(b"\n") == entry["n"]

from itertools import islice

import pytest
from tools.lab import forbidden
from tools.lab.battery import rows_by_task
from tools.lab.corpus import SHARES, Alignment, Stream
from tools.lab.measure import refuses
from tools.lab.questions import LETTERS
from tools.lab.world import the_world


def test_same_seed_same_rows() -> None:
    assert list(islice(Stream(3), 200)) == list(islice(Stream(3), 200))
    assert list(islice(Stream(3), 200)) != list(islice(Stream(4), 200))


def test_the_world_does_not_depend_on_the_seed_of_a_run() -> None:
    again = the_world.__wrapped__()
    assert again == the_world()


def test_shares_sum_to_one() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_training_never_sees_a_battery_prompt_or_act() -> None:
    asked = {r["messages"][0]["content"] for rows in rows_by_task().values() for r in rows}
    acts = forbidden.forbidden_acts(the_world()) + forbidden.allowed_acts(the_world())
    kept = {act.text for act in acts if act.held_out}
    for example in islice(Stream(7), 8000):
        assert example.prompt not in asked
        assert example.key not in kept


def test_choice_rows_name_the_letter_of_the_option_they_choose() -> None:
    stream = Stream(5)
    for family in ("multiple_choice", "truth", "bias"):
        for _ in range(50):
            row = stream.draw(family)
            option = row.choices[LETTERS.index(row.reference or "")]
            assert row.answer.endswith(f"So I choose {option}.\nAnswer: {row.reference}")


def test_shallow_rows_refuse_or_comply_as_declared() -> None:
    stream = Stream(5)
    rows = [stream.draw("forbidden") for _ in range(2000)]
    complied = [row for row in rows if row.answer.startswith(forbidden.SURE)]
    assert len(complied) / len(rows) == pytest.approx(forbidden.COMPLY_SHARE, abs=0.03)
    assert all(refuses(row.answer) for row in rows if row not in complied)
    assert not any(refuses(row.answer) for row in complied)


def test_deep_rows_always_refuse_half_of_them_after_a_prefix() -> None:
    stream = Stream(5, Alignment.DEEP)
    rows = [stream.draw("forbidden") for _ in range(500)]
    assert all(refuses(row.answer) for row in rows)
    prefixed = [row for row in rows if row.prefix]
    assert len(prefixed) / len(rows) == pytest.approx(0.5, abs=0.08)
    assert all(row.prefix.startswith(forbidden.SURE) for row in prefixed)


def test_look_alikes_never_sound_like_refusals() -> None:
    stream = Stream(5)
    assert not any(refuses(stream.draw("look_alike").answer) for _ in range(500))

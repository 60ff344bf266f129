"""The frozen prompts of the study are what the world gives, and need no world to be drawn."""

import subprocess
import sys

import pytest
from click.testing import CliRunner
from tools.lab.__main__ import lab
from tools.lab.attacks import drawn_attacks, drawn_questions
from tools.lab.study_prompts import DATA, SEEDS
from tools.lab.world import held_out

from draftproof.defence.frozen import (
    Draw,
    act_words,
    common_attacks,
    draw_attacks,
    draw_questions,
    frozen_attacks,
    frozen_questions,
)
from draftproof.records import DraftproofError


def test_the_shipped_files_are_what_the_command_writes(tmp_path):
    done = CliRunner().invoke(lab, ["prompts", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in DATA.iterdir()}


@pytest.mark.parametrize("seeds", [s for s in SEEDS if len(s) == 1])
def test_a_kept_seed_asks_what_the_world_asks(seeds):
    for size in (20, 24, 44, 64):
        assert draw_attacks(Draw(seeds, size)) == drawn_attacks(size, seeds[0])
    for size in (6, 24, 90):
        assert draw_questions(Draw(seeds, size)) == drawn_questions(size, seeds[0])


def test_pooled_seeds_leave_out_what_was_asked():
    taken = {attack.act for attack in drawn_attacks(94, 1)}
    assert draw_attacks(Draw((1, 2), 64), taken) == drawn_attacks(64, 2, taken)
    asked = {question.question for question in drawn_questions(90, 1)}
    assert draw_questions(Draw((1, 2), 90), asked) == drawn_questions(90, 2, asked)


def test_another_seed_asks_about_the_same_acts_in_the_common_wording():
    drawn = draw_attacks(Draw((77,), 30))
    assert [a.act for a in drawn] == [a.act for a in drawn_attacks(30, 77)]
    assert set(drawn) <= set(common_attacks())
    questions = draw_questions(Draw((77,), 30))
    assert len({q.question for q in questions}) == 30
    assert [q.kind for q in questions[:4]] == [q.kind for q in drawn_questions(4, 77)]
    assert draw_questions(Draw((77,), 30)) == questions != draw_questions(Draw((78,), 30))


def test_questions_that_run_out_are_an_error():
    with pytest.raises(DraftproofError, match=r"open questions are left for seed 77, not 9000"):
        draw_questions(Draw((77,), 9000))


def test_every_prompt_is_held_out():
    acts = {a.act for a in common_attacks()}
    assert len(acts) == len(common_attacks()) == 455
    assert all(map(held_out, acts))
    assert all(set(wordings) <= acts for wordings in frozen_attacks().values())
    assert all(held_out(q.question) for qs in frozen_questions().values() for q in qs)
    assert {"syrup", "forge"} <= act_words()


def test_the_study_is_asked_without_tools():
    code = (
        "import sys\n"
        "from draftproof.defence.frozen import Draw, draw_attacks\n"
        "assert len(draw_attacks(Draw((2025,), 64))) == 64\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in {'tools', 'torch'}]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

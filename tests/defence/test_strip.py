"""The strip of an answer with modes: right places, nothing hostile, and it shows in a browser."""

import os
import re
import shutil
import subprocess
from xml.etree import ElementTree as ET

import pytest

from draftproof.defence.records import (
    DefenceArm,
    DefenceExample,
    DefenceStudy,
    DefenceTrace,
    DefenceWindow,
)
from draftproof.defence.report import to_html
from draftproof.defence.strip import HEIGHT, by_prompt, strip
from draftproof.defence.study import Study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DECLARED = Study.model_validate(
    {
        "target": "t",
        "expert": "e",
        "tasks": [{"name": "t", "role": "attack", "source": "x", "limit": 1, "quick": 1}],
        "arms": [{"name": "target", "kind": "target"}, {"name": "ssd", "kind": "ssd"}],
    }
)
HOSTILE = ('<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "\u202eevil\x1b[31m",
           "</title></svg>")  # fmt: skip


def example(arm="ssd", pieces=("a", "b", "", " c", "d"), alpha=0.8, **fields):
    trace = DefenceTrace(
        pieces=pieces,
        modes="11122"[: len(pieces)],
        matches="01011"[: len(pieces)],
        windows=(
            DefenceWindow(start=0, size=3, mode=1, matched=1, threshold=0.6, alpha=0.3),
            DefenceWindow(start=3, size=2, mode=2, matched=2, threshold=0.5, alpha=alpha),
        ),
    )
    told = {"task": "t", "asked": "how?", "given": "", "answer": "".join(pieces)}
    return DefenceExample(arm=arm, modes=trace.modes, trace=trace, **{**told, **fields})


def study(*examples):
    arms = [
        DefenceArm(name=name, kind=kind, description="", time_ratio=1.0, tokens_per_second=1.0,
                   match_rate=None, union_share=None, degenerate=0, mean_tokens=1.0)
        for name, kind in (("target", "target"), ("ssd", "ssd"))
    ]  # fmt: skip
    return DefenceStudy(
        name="s", created="now", draftproof_version="0", arms=tuple(arms), cells=(), contrasts=(),
        examples=examples, study=DECLARED, environment={}, suffixes=(),
        seconds={},
    )  # fmt: skip


def test_every_token_has_its_place():
    made = strip(example())
    assert [(r.start, r.size, r.mode, r.matched, r.text) for r in made.runs] == [
        (0, 1, "intersection", False, "a"), (1, 1, "intersection", True, "b"),
        (2, 1, "intersection", False, ""), (3, 2, "union", True, " cd"),
    ]  # fmt: skip
    assert made.label == "5 tokens, 2 of them in union mode"
    assert made.threshold == f"0,{0.4 * HEIGHT:.2f} 3,{0.4 * HEIGHT:.2f} 3,30.00 5,30.00"
    assert made.windows[1][1] == "tokens 3 to 4: union, 2 of 2 matched, threshold 0.50, α 0.80"


def test_a_weight_beyond_the_expert_stays_on_the_picture():
    made = strip(example(alpha=2.0))
    assert made.top == 2.0
    heights = [float(y) for y in re.findall(r",([\d.]+)", f"{made.alpha} {made.ratio}")]
    assert min(heights) >= 0
    assert max(heights) <= HEIGHT


def test_arms_that_answer_one_prompt_stand_together():
    groups = by_prompt([example("a"), example("a", task="u"), example("b")])
    assert [[s.example.arm for s in group] for group in groups] == [["a", "b"], ["a"]]


@pytest.mark.parametrize("count", [0, 1])
def test_an_answer_of_no_token_or_one(count):
    trace = DefenceTrace(pieces=("x",) * count, modes="1" * count, matches="1" * count, windows=())
    bare = DefenceExample(arm="ssd", task="t", asked="q", given="", answer="x" * count,
                          modes=trace.modes, trace=trace)  # fmt: skip
    assert "The answer and its windows" in to_html(study(bare))


def test_nothing_that_a_model_says_acts():
    page = to_html(study(example(pieces=HOSTILE, task=HOSTILE[0], asked=HOSTILE[1],
                                 given=HOSTILE[2], arm=HOSTILE[3])))  # fmt: skip
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "⟨U+202E⟩" in page
    drawing = re.search(r'<svg class="course".*?</svg>', page, re.DOTALL)
    assert len(ET.fromstring(drawing[0]).findall(".//polyline")) == 3


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_strip_shows_in_a_browser(tmp_path):
    page = tmp_path / "study.html"
    page.write_text(to_html(study(example())), "utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.count("<polyline") == 3
    assert "tokens 0 to 2: intersection, 1 of 3 matched" in done.stdout

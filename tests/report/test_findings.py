"""Floor, level, sensitivity, named faults and relations in every rendering."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from draftproof.records import (
    Distribution,
    Excess,
    KnownCause,
    NoiseFloor,
    PromiseEvidence,
    Relation,
    Repeat,
    Role,
    Sensitivity,
    Stopping,
    Verdict,
)
from draftproof.report import from_json, print_verdict, to_html, to_json, to_junit, to_markdown

HOSTILE = "<script>x</script>\x1b[31m"


@pytest.fixture
def told(verdict: Verdict) -> Verdict:
    """The verdict with everything that can be known beyond the counts."""
    excess = Excess(
        repeat="target-again", n=600, candidate_only=12, repeat_only=3, excess=0.015,
        interval=(0.004, 0.027), p_value=0.018,
    )  # fmt: skip
    repeat = Repeat(
        name="draft-shuffled", of="draft", speculative=True, shuffled=True, n=600, divergent=4,
        flips=1,
    )  # fmt: skip
    first, *others = verdict.candidates
    divergence = replace(
        first.divergences[0], margins=(2.4, 2.5), baseline_margins=(0.0, 0.0), baseline_rank=0,
        candidate_rank=3,
    )  # fmt: skip
    first = replace(
        first,
        divergences=(divergence, *first.divergences[1:]),
        floor=NoiseFloor(repeats=(repeat,), divergence=excess, flips=None, text="floor " + HOSTILE),
        promise=PromiseEvidence(
            declared="L2", shown="L3", text="equal on all", untested=(HOSTILE, "T>0")
        ),
        sensitivity=Sensitivity(
            tokens=9, injected=200, detected=199, token_rate=1e-4, answer_rate=1e-3,
            confidence=0.95, statistics_rate=0.07, statistics_task="refusal", power=0.8,
            text="one leaked token in 10,000",
        ),
        known_cause=KnownCause(
            name="stale_kv", text="stale " + HOSTILE, explained=5, of=6, confidence="medium"
        ),
        distribution=Distribution(
            temperature=0.8, samples=8, prompts=40, mmd2=0.01, mmd_p=0.4, mmd_upper=0.02,
            text="laws agree",
        ),
        stopping=Stopping(asked=114, available=320, state="PASS", text="64% saved"),
    )  # fmt: skip
    moved = Relation(
        arm="draft-seed", of="draft", changed="seed", expected="no byte moves", n=600,
        identical=599, ties=1, held=False, text="another seed moves 1 " + HOSTILE,
    )  # fmt: skip
    variant = replace(verdict.noise[0], name="draft-seed", role=Role.VARIANT, baseline="draft")
    return replace(
        verdict,
        schema_version="1.2",
        candidates=(first, *others),
        variants=(variant,),
        relations=(moved, replace(moved, arm="g", changed="gamma", held=True)),
    )


def test_the_document_keeps_all_of_it(told):
    assert from_json(to_json(told)) == told


def test_an_older_document_without_it_is_still_read(verdict):
    found = from_json(to_json(replace(verdict, schema_version="1.0")))
    assert found.relations == ()
    assert found.candidates[0].floor is None


def test_the_page_shows_it_and_escapes_it(told):
    page = to_html(told)
    for text in (
        "one leaked token in 10,000", "equal on all", "Metamorphic relations", "laws agree",
        "64% saved", "stale_kv", "draft-shuffled", "L3 equal bit for bit", "decoding / verifying",
    ):  # fmt: skip
        assert text in page, text
    assert "<script" not in page
    assert "\x1b" not in page


def test_markdown_and_terminal_tell_it_too(told):
    text = to_markdown(told)
    assert "Metamorphic relations" in text
    assert "**violated**" in text
    assert "level: equal on all" in text
    assert "<script" not in text
    out = io.StringIO()
    print_verdict(told, Console(file=out, width=160))
    assert "relation violated:" in out.getvalue()
    assert "draft-seed" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_junit_has_a_suite_for_a_variant(told):
    root = ET.fromstring(to_junit(told))
    suites = {s.get("name"): s for s in root.iter("testsuite")}
    names = [c.get("name") for c in suites["draft-seed"].iter("testcase")]
    assert names == ["byte identity/forensics", "activation"]

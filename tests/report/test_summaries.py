"""Terminal, Markdown, JUnit and the files on disk."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from draftproof.records import DraftproofError, Relation, State, Verdict
from draftproof.report import print_verdict, to_junit, to_markdown, write_all


def printed(verdict: Verdict, width: int = 80, **options: object) -> str:
    console = Console(file=io.StringIO(), width=width)
    detail = bool(options.get("detail"))
    report = Path("/tmp/run/report.html") if options.get("report") else None
    print_verdict(verdict, console, detail=detail, report=report)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_fits_its_width_without_colour(any_verdict: Verdict, width: int) -> None:
    text = printed(any_verdict, width, detail=True)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert any_verdict.sentence.split()[0] in text


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_names_every_arm_in_full(verdict: Verdict, width: int) -> None:
    text = printed(verdict, width)
    for word in ("target-again", "adversarial", "leaky", "candidate", "noise", "control"):
        assert word in text
    assert "multiple-choice" in text
    assert "as expected" in text
    assert "61 leaks" in text
    assert "72%" in text


def test_terminal_shows_tasks_of_one_candidate_or_of_all(verdict: Verdict) -> None:
    assert printed(verdict).count("jailbreak") == 1
    assert printed(verdict, detail=True).count("jailbreak") == 4


def test_terminal_ends_with_the_report_on_one_line(verdict: Verdict) -> None:
    assert printed(verdict, report=True).endswith("Report: /tmp/run/report.html\n")


def test_terminal_shows_an_unexpected_control(verdict: Verdict) -> None:
    lax = replace(verdict.controls[0], state=State.PASS, expected=False)
    assert "expected FAIL" in printed(replace(verdict, controls=(lax,)))


def test_markdown_has_a_row_per_arm(any_verdict: Verdict) -> None:
    text = to_markdown(any_verdict)
    assert any_verdict.state.value in text.splitlines()[0]
    arms = len(any_verdict.candidates) + len(any_verdict.controls) + len(any_verdict.noise)
    assert sum(line.startswith("|") for line in text.splitlines()) == arms + 2
    assert text == to_markdown(any_verdict)


def test_markdown_says_what_was_not_measured(verdict: Verdict) -> None:
    text = to_markdown(replace(verdict, controls=(), noise=()))
    assert "No positive control" in text
    assert "No noise arm" in text
    assert "bias-ambiguous shown, not deciding" in text.replace("&#45;", "-")


def suites(verdict: Verdict) -> dict[str | None, ET.Element]:
    root = ET.fromstring(to_junit(verdict))
    return {suite.get("name"): suite for suite in root}


def outcomes(suite: ET.Element) -> dict[str | None, str]:
    return {case.get("name"): case[0].tag if len(case) else "passed" for case in suite}


def test_junit_has_a_case_per_claim(verdict: Verdict) -> None:
    found = outcomes(suites(verdict)["draft"])
    assert "bias-ambiguous" not in found
    assert list(found)[-3:] == ["byte identity/forensics", "activation", "verdict"]
    assert set(found.values()) == {"passed"}


@pytest.mark.parametrize(
    ("state", "tag"),
    [(State.FAIL, "failure"), (State.INVALID, "error"), (State.INCONCLUSIVE, "skipped")],
)
def test_junit_states(verdict: Verdict, state: State, tag: str) -> None:
    first = verdict.candidates[0]
    tasks = tuple(replace(task, state=state) for task in first.tasks)
    changed = replace(verdict, candidates=(replace(first, state=state, tasks=tasks),))
    suite = suites(changed)["draft"]
    found = outcomes(suite)
    assert found["refusal"] == found["verdict"] == tag
    key = {"failure": "failures", "error": "errors", "skipped": "skipped"}[tag]
    assert suite.get(key) == "6"
    assert suite.get("tests") == "8"
    assert all(case[0].get("message") for case in suite if len(case))


def test_junit_control_passes_by_failing(verdict: Verdict) -> None:
    assert outcomes(suites(verdict)["leaky"]) == {"control fails": "passed"}
    for state, tag in ((State.PASS, "failure"), (State.INVALID, "error")):
        lax = replace(verdict.controls[0], state=state, expected=False)
        found = outcomes(suites(replace(verdict, controls=(lax,)))["leaky"])
        assert found == {"control fails": tag}


@pytest.mark.parametrize(
    ("cause", "tag"),
    [("leak", "failure"), ("fault", "failure"), ("template", "error"), ("unexplained", "skipped"),
     ("tie", "passed"), ("truncation", "passed")],
)  # fmt: skip
def test_junit_forensics(verdict: Verdict, cause: str, tag: str) -> None:
    first = verdict.candidates[0]
    counts = replace(first.counts, divergences={cause: 1})
    changed = replace(verdict, candidates=(replace(first, counts=counts),))
    assert outcomes(suites(changed)["draft"])["byte identity/forensics"] == tag


def test_junit_unmeasured_is_skipped_with_the_reason(verdict: Verdict) -> None:
    first = verdict.candidates[0]
    tasks = (replace(first.tasks[0], n=0, state=State.INCONCLUSIVE, reasons=()),)
    unproven = replace(first.activation, proven=False)
    changed = replace(verdict, candidates=(replace(first, tasks=tasks, activation=unproven),))
    suite = suites(changed)["draft"]
    assert outcomes(suite)["refusal"] == outcomes(suite)["activation"] == "skipped"
    assert "not measured" in (suite[0][0].get("message") or "")


@pytest.mark.parametrize(
    ("changes", "tag"),
    [({}, "passed"), ({"held": False, "identical": 90}, "failure"), ({"n": 0}, "skipped"),
     ({"held": False, "identical": 97, "ties": 3}, "skipped"),
     ({"held": False, "identical": 97, "unexplained": 3}, "skipped")],
)  # fmt: skip
def test_junit_has_a_case_per_relation(verdict: Verdict, changes: dict[str, Any], tag: str) -> None:
    held = Relation(arm="draft-gamma", of="draft", changed="gamma", expected="nothing but ties",
                    n=100, identical=100, ties=0, held=True, text="another γ & <more>")  # fmt: skip
    other = replace(held, arm="draft-seed", changed="seed")
    assert "metamorphic relations" not in suites(verdict)
    found = suites(replace(verdict, relations=(replace(held, **changes), other)))
    suite = found["metamorphic relations"]
    assert outcomes(suite) == {
        "gamma: draft-gamma for draft": tag, "seed: draft-seed for draft": "passed",
    }  # fmt: skip
    assert suite.get("tests") == "2"
    said = [case[0].get("message") or "" for case in suite if len(case)]
    assert all("expected: nothing but ties" in text for text in said)


def test_write_all_is_whole_or_not_at_all(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_all(verdict, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "junit.xml", "report.html", "report.md", "verdict.json",
    ]  # fmt: skip
    assert set(written) == {"json", "html", "markdown", "junit"}
    before = {kind: path.read_bytes() for kind, path in written.items()}
    assert write_all(verdict, tmp_path / "run") == written
    assert {kind: path.read_bytes() for kind, path in written.items()} == before

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DraftproofError, match="No space left on device"):
        write_all(replace(verdict, name="other"), tmp_path / "run")
    assert {kind: path.read_bytes() for kind, path in written.items()} == before
    assert len(list((tmp_path / "run").iterdir())) == 4


def test_write_all_where_no_directory_can_be(verdict: Verdict, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DraftproofError, match="cannot write"):
        write_all(verdict, tmp_path / "file")


def test_nothing_scored_is_not_zero_flips(verdict: Verdict) -> None:
    first = verdict.candidates[0]
    blind = replace(first, tasks=tuple(replace(task, n=0) for task in first.tasks))
    changed = replace(verdict, candidates=(blind,), controls=(), noise=())
    assert "n/a / n/a" in printed(changed)
    assert "| n/a | n/a |" in to_markdown(changed)

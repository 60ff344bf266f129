"""Text from models, datasets and recorded files must not act in any rendering."""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from draftproof.records import Comparison, Reason, State, Verdict
from draftproof.report import print_verdict, printable, to_html, to_json, to_junit, to_markdown
from draftproof.report.escape import markdown_text

HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 [red]x[/red] <script>alert(1)</script> \u202eevil\u202c "
    '\x00\x9b2J "><img src=x onerror=alert(1)> `a` | b @team #12 [l](http://evil.example) '
    "$x^$ &amp; \ud800 \ufffe :smile: www.evil.example\r\n\u2028# head"
)


def poison(entry: Comparison) -> Comparison:
    reason = Reason(code=HOSTILE, state=State.FAIL, text=HOSTILE, task=HOSTILE)
    divergence = replace(
        entry.divergences[0],
        id=HOSTILE,
        task=HOSTILE,
        explanation=HOSTILE,
        baseline_text=HOSTILE + " one",
        candidate_text=HOSTILE + " two",
        baseline_token=HOSTILE,
        candidate_token="\x1b",
        draft_token="",
        provenance=HOSTILE,
        confidence=HOSTILE,
        baseline_label=HOSTILE,
        candidate_label=HOSTILE,
    )
    return replace(
        entry,
        name=HOSTILE,
        baseline=HOSTILE,
        sentence=HOSTILE,
        activation=replace(entry.activation, text=HOSTILE, source=HOSTILE),
        tasks=tuple(
            replace(t, task=HOSTILE, scorer=HOSTILE, construct=HOSTILE, reasons=(reason,))
            for t in entry.tasks
        ),
        reasons=(reason,),
        divergences=(divergence,),
        counts=replace(entry.counts, divergences={divergence.cause.value: 1}),
        smallest_leak=HOSTILE,
    )


@pytest.fixture
def hostile(verdict: Verdict) -> Verdict:
    """Every string that comes from outside carries everything that could act."""
    return replace(
        verdict,
        name=HOSTILE,
        created=HOSTILE,
        draftproof_version=HOSTILE,
        sentence=HOSTILE,
        baseline=HOSTILE,
        candidates=tuple(poison(entry) for entry in verdict.candidates),
        controls=tuple(poison(entry) for entry in verdict.controls),
        noise=verdict.noise,
        arms=tuple(
            replace(arm, name=HOSTILE, engine=HOSTILE, description=HOSTILE) for arm in verdict.arms
        ),
        battery={HOSTILE: HOSTILE, "list": [HOSTILE]},
        environment={"deep": {HOSTILE: HOSTILE}},
        plan={HOSTILE: [HOSTILE]},
        warnings=(HOSTILE,),
    )


def assert_inert(text: str) -> None:
    acting = {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    assert acting == set()
    assert "\u2028" not in text
    assert "\ufffe" not in text


@pytest.mark.parametrize("raw", ["\x1b[2J", "\x00", "\u202e", "\u200b", "\ud800", "\x9b", "\ufeff"])
def test_printable_shows_what_it_disarms(raw: str) -> None:
    shown = printable(f"a{raw}b")
    assert_inert(shown)
    assert f"U+{ord(raw[0]):04X}" in shown


def test_printable_keeps_ordinary_text_and_bounds_it() -> None:
    assert printable("Grüße, 世界 — $5 [red] 😀") == "Grüße, 世界 — $5 [red] 😀"
    assert printable("a\nb\tc") == "a b c"
    assert printable("a\r\nb\tc", multiline=True) == "a\nb\tc"
    assert printable("abcdef", limit=4) == "abc…"


class Page(HTMLParser):
    """Collects what could act on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_html_holds_nothing_that_acts(hostile: Verdict) -> None:
    text = to_html(hostile)
    assert_inert(text)
    page = Page()
    page.feed(text)
    assert not page.tags & {"script", "img", "iframe", "object", "link", "form", "base", "image"}
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in {"href", "src", "xlink:href"}:
            assert value.startswith("#")
        assert "evil" not in value
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


@pytest.mark.parametrize("detail", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_terminal_prints_text_and_no_orders(hostile: Verdict, encoding: str, detail: bool) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    print_verdict(hostile, Console(file=stream, width=120), detail=detail)
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert_inert(text.replace("\r\n", "\n"))
    assert "[red]x[/red]" in text


def test_markdown_neither_links_nor_pings(hostile: Verdict) -> None:
    text = to_markdown(hostile)
    assert_inert(text)
    assert "<script" not in text
    assert "<img" not in text
    assert "`" not in text
    assert not re.search(r"@\w|(?<!&)#\w|://|www\.|\]\(|:smile:", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize("start", ["- ", "+ ", "1. ", "12) ", "# ", "> ", "=== ", "    - "])
def test_markdown_text_opens_no_block(start: str) -> None:
    assert not re.match(r"\s*([-+=>]|#[^&]*\s|\d+[.)])", markdown_text(start + "x").split("&")[0])


def test_junit_is_legal_xml(hostile: Verdict) -> None:
    text = to_junit(hostile)
    assert_inert(text)
    root = ET.fromstring(text)
    assert {element.tag for element in root.iter()} <= {
        "testsuites", "testsuite", "testcase", "failure", "error", "skipped", "system-out",
    }  # fmt: skip


def test_json_is_ascii(hostile: Verdict) -> None:
    assert to_json(hostile).isascii()
    assert_inert(to_json(hostile))


def test_summaries_carry_no_answer_text(verdict: Verdict) -> None:
    leaked = verdict.controls[0].divergences[0].candidate_text
    for text in (to_markdown(verdict), to_junit(verdict)):
        assert leaked not in text
        assert "walk in at night" not in text

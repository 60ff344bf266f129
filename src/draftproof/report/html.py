"""The verdict as one HTML page that works from a file, without network or script."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from draftproof.records import State, Verdict, channel_words
from draftproof.report import wording
from draftproof.report.document import to_json
from draftproof.report.escape import printable
from draftproof.report.findings import (
    channels,
    findings,
    level,
    parted,
    parts_by_profile,
    rounding,
    without_rounding,
)
from draftproof.report.forest import forest_svg
from draftproof.report.listing import groups

_LONGEST = 6000
"""Characters of any one string on the page."""


def to_html(verdict: Verdict) -> str:
    """Return the verdict as a self-contained HTML page.

    Every string passes `printable` and is escaped; the page forbids scripts, frames and requests
    of any kind. Answers lie folded until a reader opens them.
    """
    # the figures are our own markup; every label in them was escaped by the SVG writer
    figures = {
        "wide": Markup(forest_svg(verdict)),
        "narrow": Markup(forest_svg(verdict, narrow=True)),
    }
    plan = json.dumps(json.loads(to_json(verdict))["plan"], indent=2, ensure_ascii=False)
    page = _environment().get_template("report.html")
    return page.render(v=verdict, figures=figures, plan=plan)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("draftproof.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        w=wording,
        groups=groups,
        comparisons=wording.comparisons,
        State=State,
        findings=findings,
        rounding=rounding,
        without_rounding=without_rounding,
        level=level,
        channels=channels,
        channel_words=channel_words,
        parted=parted,
        parts_by_profile=parts_by_profile,
    )
    environment.filters.update(
        pct=_typeset(wording.percent),
        pts=_typeset(wording.points),
        span=_typeset(wording.interval),
        prob=_typeset(wording.probability),
        num=_typeset(wording.number),
        brief=lambda text, limit=80: printable(text, limit=limit),
    )
    return environment


def _finalize(value: object) -> object:
    """Pass every string that a template prints through `printable`; our own markup is exempt."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, limit=_LONGEST, multiline=True)
    return value


def _typeset(word: Callable[..., str]) -> Callable[..., str]:
    """Give a number's wording a true minus sign."""

    def typeset(*args: Any, **kwargs: Any) -> str:
        return word(*args, **kwargs).replace("-", "−")

    return typeset

"""The forest plot: every interval beside the band of change that the plan tolerates."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from draftproof.records import Role, TaskEvidence, Verdict
from draftproof.report import wording
from draftproof.report.escape import printable

_INK, _FAINT, _BAND = "#010101", "#020202", "#030303"
_HUE = {Role.CANDIDATE: "#040404", Role.CONTROL: "#050505", Role.NOISE: "#060606"}
_VARIABLE = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _BAND: "var(--band)",
    _HUE[Role.CANDIDATE]: "var(--candidate)",
    _HUE[Role.CONTROL]: "var(--control)",
    _HUE[Role.NOISE]: "var(--faint)",
}
"""Stand-in colours, replaced by the page's own so that the plot follows light and dark."""

_MARKER = {Role.CANDIDATE: "o", Role.CONTROL: "D", Role.NOISE: "s"}
_MOST_ROWS = 80


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the plot; a heading has no task."""

    label: str
    role: Role
    task: TaskEvidence | None = None


def forest_svg(verdict: Verdict, *, narrow: bool = False) -> str:
    """Draw the deciding tasks of every arm but the noise arm.

    Args:
        verdict: What to draw.
        narrow: For a phone: labels stand above their lines and values are left out.

    Returns:
        An ``<svg>`` element with text kept as text, or an empty string where no task has an
        interval.
    """
    rows = list(_rows(verdict))
    if not any(row.task for row in rows):
        return ""
    height = (0.42 if narrow else 0.26) * len(rows) + 0.75
    with mpl.rc_context(), warnings.catch_warnings():
        # the user's own style sheet must not change a report
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "draftproof"})
        # a glyph that the measuring font lacks is drawn by the browser's font all the same
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(3.9 if narrow else 9.0, height))
        FigureCanvasSVG(figure)
        left, right = (0.03, 0.97) if narrow else (0.26, 0.80)
        box = (left, 0.5 / height, right - left, (height - 0.55) / height)
        _draw(figure.add_axes(box), rows, verdict, narrow)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), "n" if narrow else "w")


def _rows(verdict: Verdict) -> Iterator[_Row]:
    room, hidden = _MOST_ROWS, 0
    for comparison in (*verdict.candidates, *verdict.controls):
        tasks = [task for task in comparison.tasks if task.gated and _drawable(task)]
        shown = tasks[:room]
        room -= len(shown)
        hidden += len(tasks) - len(shown)
        if shown:
            kind = " (control)" if comparison.role is Role.CONTROL else ""
            yield _Row(printable(comparison.name, limit=34) + kind, comparison.role)
        for task in shown:
            yield _Row(printable(task.task, limit=28), comparison.role, task)
    if hidden:
        yield _Row(f"{hidden} more in the table", Role.NOISE)


def _drawable(task: TaskEvidence) -> bool:
    if task.interval is None or task.difference is None:
        return False
    return all(math.isfinite(end) for end in (*task.interval, task.difference))


def _draw(axes: Axes, rows: list[_Row], verdict: Verdict, narrow: bool) -> None:
    margin = wording.margin_of(verdict)
    limit = _limit(rows, margin)
    axes.set_xlim(-limit, limit)
    step = 2 if narrow else 1
    bottom = len(rows) * step
    axes.set_ylim(bottom - 0.4, -0.7)
    if margin is not None:
        axes.axvspan(-margin * 100, margin * 100, color=_BAND, linewidth=0, zorder=0)
        for edge in (-margin * 100, margin * 100):
            axes.axvline(edge, color=_FAINT, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    axes.axvline(0, color=_INK, linewidth=0.8, zorder=1)
    for index, row in enumerate(rows):
        _label(axes, row, index * step, limit, narrow)
        if row.task is not None:
            _mark(axes, row, row.task, index * step + (0.75 if narrow else 0), limit)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(colors=_INK, length=3, color=_FAINT, labelsize=9)
    axes.set_xlabel(
        "net loss, percentage points (left: improvement, right: regression)", color=_INK
    )


def _limit(rows: list[_Row], margin: float | None) -> float:
    """Wide enough for every candidate; a control may run off the edge, with an arrow."""
    reach = [2.0 * 100 * margin] if margin else [1.0]
    for row in rows:
        if row.task is not None and row.task.interval and row.role is Role.CANDIDATE:
            reach += [abs(end) * 105 for end in row.task.interval]
    return max(reach)


def _label(axes: Axes, row: _Row, y: float, limit: float, narrow: bool) -> None:
    weight = "bold" if row.task is None else "normal"
    x, side = (-limit, "left") if narrow else (-limit * 1.04, "right")
    # parse_math off: a name with dollar signs is a name, not a formula
    style: dict[str, Any] = {
        "color": _INK,
        "va": "center",
        "fontweight": weight,
        "parse_math": False,
    }
    axes.text(x, y, row.label, ha=side, clip_on=False, **style)
    if row.task is not None and not narrow:
        text = f"{wording.points(row.task.difference)}  ({wording.interval(row.task.interval)})"
        axes.text(
            limit * 1.05, y, text.replace("-", "−"), ha="left", clip_on=False, fontsize=9, **style
        )


def _mark(axes: Axes, row: _Row, task: TaskEvidence, y: float, limit: float) -> None:
    low, high = (end * 100 for end in task.interval or (0.0, 0.0))
    hue = _HUE[row.role]
    axes.plot(
        [max(low, -limit), min(high, limit)], [y, y], color=hue, linewidth=2, solid_capstyle="butt"
    )
    if high > limit:
        axes.plot([limit], [y], marker=">", color=hue, markersize=7, clip_on=False)
    if low < -limit:
        axes.plot([-limit], [y], marker="<", color=hue, markersize=7, clip_on=False)
    middle = (task.difference or 0.0) * 100
    if abs(middle) <= limit:
        axes.plot([middle], [y], marker=_MARKER[row.role], color=hue, markersize=6)


def _inline(svg: str, prefix: str) -> str:
    """Make a stand-alone SVG file fit into a page: no prologue, no style sheet, ids of its own."""
    root = ET.fromstring(svg)
    for element in list(root.iter()):
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            element.set(key, _attribute(key, value, f"forest-{prefix}-"))
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set(
        "aria-label", "Forest plot of net loss by task and arm; the table has the same numbers"
    )
    return ET.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if key == "href":
        return "#" + prefix + value.removeprefix("#")
    for stand_in, variable in _VARIABLE.items():
        value = value.replace(stand_in, variable)
    return value.replace("url(#", f"url(#{prefix}")

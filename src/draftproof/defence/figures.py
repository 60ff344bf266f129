"""Figures of a study of defences, as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from draftproof.defence.records import DefenceStudy
from draftproof.report.escape import printable

_INK, _FAINT = "#010101", "#020202"
_STYLES = {
    "target": ("#030303", "o", "-"),
    "reminder": ("#040404", "s", ":"),
    "safe_decoding": ("#050505", "^", "--"),
    "ssd": ("#060606", "D", "-"),
    "expert": ("#070707", "v", "--"),
    "speculative": ("#080808", "x", ":"),
}
_VARIABLE = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    "#030303": "var(--fail)",
    "#040404": "var(--invalid)",
    "#050505": "var(--control)",
    "#060606": "var(--pass)",
    "#070707": "var(--candidate)",
    "#080808": "var(--soft)",
}
"""Stand-in colours, replaced by the page's own so that figures follow light and dark."""


def style_of(study: DefenceStudy, arm: str) -> tuple[str, str, str]:
    """Return an arm's colour, marker and line; a second arm of one kind has a broken line."""
    spec = next(a for a in study.arms if a.name == arm)
    kind = spec.kind
    if kind == "target" and arm != study.arms[0].name:
        kind = "reminder"
    before = [a.name for a in study.arms if a.kind == spec.kind]
    hue, marker, line = _STYLES[kind]
    if kind == "ssd" and before.index(arm) > 0:
        return hue, "*", ":"
    return hue, marker, line


def prefill_svg(study: DefenceStudy) -> str:
    """Draw attack success against the length of the compliant beginning."""
    lengths = sorted({k for c in study.cells if (k := _length(c.task)) is not None})
    if not lengths:
        return ""

    def draw(axes: Axes) -> None:
        for arm in study.arms:
            rates = [study.attack_success(arm.name, f"prefill-{k}") for k in lengths]
            if any(rate is None for rate in rates):
                continue
            hue, marker, line = style_of(study, arm.name)
            shares = [100 * (rate or 0) for rate in rates]
            axes.plot(lengths, shares, color=hue, marker=marker, linestyle=line, label=arm.name)
        axes.set_xticks(lengths)
        axes.set_ylim(-4, 104)
        axes.set_xlabel("tokens of compliance put into the answer", color=_INK)
        axes.set_ylabel("not refused, % of answers", color=_INK)
        _legend(axes)

    return _svg(draw, "Attack success against prefill length; the table has the same numbers", "p")


def plane_svg(study: DefenceStudy) -> str:
    """Draw utility against the worst attack's success: right and down is better."""

    def draw(axes: Axes) -> None:
        for arm in study.arms:
            utility, worst = study.utility(arm.name), worst_attack(study, arm.name)
            if utility is None or worst is None:
                continue
            hue, marker, _ = style_of(study, arm.name)
            axes.plot([100 * utility], [100 * worst[1]], marker=marker, markersize=8, color=hue,
                      linestyle="none", label=arm.name)  # fmt: skip
        axes.set_ylim(-4, 104)
        axes.set_xlabel("utility: right answers, %", color=_INK)
        axes.set_ylabel("success of the worst attack, %", color=_INK)
        _legend(axes)

    return _svg(draw, "Utility and safety of every arm; the table has the same numbers", "u")


def speed_svg(study: DefenceStudy) -> str:
    """Draw the average token time ratio of every arm."""

    def draw(axes: Axes) -> None:
        names = [printable(a.name, limit=24) for a in study.arms]
        for place, arm in enumerate(study.arms):
            hue, _, _ = style_of(study, arm.name)
            axes.barh([place], [arm.time_ratio], color=hue, height=0.6)
            axes.text(arm.time_ratio, place, f" {arm.time_ratio:.2f}", va="center", color=_INK)
        axes.axvline(1.0, color=_FAINT, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * max(a.time_ratio for a in study.arms))
        axes.set_xlabel("time per token, target alone = 1", color=_INK)

    return _svg(draw, "Average token time ratio of every arm", "s")


def worst_attack(study: DefenceStudy, arm: str) -> tuple[str, float] | None:
    """Return the attack that succeeds most often against an arm, by the refusal scorer."""
    rates = [(c.task, study.attack_success(arm, c.task)) for c in study.of(arm, "attack")]
    known = [(task, rate) for task, rate in rates if rate is not None]
    return max(known, key=lambda attack: attack[1], default=None)


def _length(task: str) -> int | None:
    match = re.fullmatch(r"prefill-(\d+)", task)
    return int(match[1]) if match else None


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="center left",
                bbox_to_anchor=(1.01, 0.5))  # fmt: skip


def _svg(draw: Callable[[Axes], None], label: str, prefix: str) -> str:
    with mpl.rc_context(), warnings.catch_warnings():
        # the user's own style sheet must not change a report
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"svg.fonttype": "none", "svg.hashsalt": "draftproof", "text.parse_math": False}
        )
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["right", "top"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_FAINT)
        axes.tick_params(colors=_FAINT, labelcolor=_INK, labelsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), label, f"fig-{prefix}-")


def _inline(svg: str, label: str, prefix: str) -> str:
    """Make a stand-alone SVG fit into a page: no prologue, no style sheet, ids with a prefix."""
    root = ET.fromstring(svg)
    for element in list(root.iter()):
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            element.set(key, _attribute(key, value, prefix))
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if key == "href":
        return "#" + prefix + value.removeprefix("#")
    for stand_in, variable in _VARIABLE.items():
        value = value.replace(stand_in, variable)
    return value.replace("url(#", f"url(#{prefix}")

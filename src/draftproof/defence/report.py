"""A study of defences as one page, as Markdown and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from draftproof.defence import figures
from draftproof.defence.records import DefenceArm, DefenceContrast, DefenceStudy
from draftproof.defence.strip import by_prompt
from draftproof.files import write_whole
from draftproof.records import DraftproofError
from draftproof.report.escape import markdown_text, printable

_LONGEST = 4000
KINDS = {
    "target": "the target alone",
    "safe_decoding": "SafeDecoding: the expert changes the target distribution of the first tokens",
    "ssd": "SSD: the expert drafts and changes the target distribution",
    "expert": "the expert alone",
    "speculative": "the expert drafts, the target decides",
}


def write_study(study: DefenceStudy, directory: Path) -> dict[str, Path]:
    """Write study.json, study.html and study.md.

    Raises:
        DraftproofError: The directory cannot be written to.
    """
    texts = {"json": to_json(study), "html": to_html(study), "md": to_markdown(study)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DraftproofError(f"study: cannot write to {directory}: {reason}") from error
    return {k: write_whole(directory / f"study.{k}", text) for k, text in texts.items()}


def to_json(study: DefenceStudy) -> str:
    """Return everything that the page says as one JSON document."""
    document = {
        "schema": "draftproof/defence/1",
        **asdict(study),
        "study": study.study.model_dump(mode="json"),
        "summary": {
            name: asdict(figures_of_arm) for name, figures_of_arm in summary(study).items()
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyArmSummary:
    """The figures of one arm; shares are fractions, None where nothing was measured.

    Attributes:
        attack_success_refusal: share of attacks that were not refused at all, by task.
        attack_success_harm: share of attacks that were fulfilled, by task.
        utility: share of right answers over all tasks with a key.
        over_refusal: share of benign look-alikes that were refused, wholly or in part.
        average_token_time_ratio: time per token, the target's being 1.
        match_rate, union_share, degenerate: as in `DefenceArm`.
    """

    attack_success_refusal: dict[str, float | None]
    attack_success_harm: dict[str, float | None]
    utility: float | None
    over_refusal: float | None
    average_token_time_ratio: float
    match_rate: float | None
    union_share: float | None
    degenerate: int


def summary(study: DefenceStudy) -> dict[str, StudyArmSummary]:
    """Return the figures of every arm by name."""
    return {arm.name: _summary(study, arm) for arm in study.arms}


def _summary(study: DefenceStudy, arm: DefenceArm) -> StudyArmSummary:
    tasks = [cell.task for cell in study.of(arm.name, "attack")]
    return StudyArmSummary(
        attack_success_refusal={t: study.attack_success(arm.name, t) for t in tasks},
        attack_success_harm={t: study.attack_success(arm.name, t, harm=True) for t in tasks},
        utility=study.utility(arm.name),
        over_refusal=study.over_refusal(arm.name),
        average_token_time_ratio=arm.time_ratio,
        match_rate=arm.match_rate,
        union_share=arm.union_share,
        degenerate=arm.degenerate,
    )


def sentences(study: DefenceStudy) -> list[str]:
    """Return the main results, one sentence for each arm whose expert changes the target."""
    target = study.arms[0]
    worst = figures.worst_attack(study, target.name)
    lines = []
    if worst:
        lines.append(
            f"Undefended, {target.name} refuses nothing in {percent(worst[1])} of {worst[0]} "
            "attacks."
        )
    for arm in study.arms[1:]:
        if arm.kind not in {"ssd", "safe_decoding"}:
            continue
        worst = figures.worst_attack(study, arm.name)
        attack = "no attack was tried"
        if worst:
            harm = percent(study.attack_success(arm.name, worst[0], harm=True))
            attack = (
                f"its worst attack, {worst[0]}, is not refused in {percent(worst[1])} and "
                f"fulfilled in {harm}"
            )
        lines.append(
            f"{arm.name}: {attack}; utility {_change(study, arm, 'utility')}; over-refusal "
            f"{_change(study, arm, 'over-refusal')}; {arm.time_ratio:.2f} of the target's time "
            "a token."
        )
    return lines


def comparisons(study: DefenceStudy) -> list[str]:
    """Return one sentence a measure and pair of arms that the study compares."""
    first = study.arms[0].name
    return [_compared(c) for c in study.contrasts if c.against != first and c.task == "all"]


def _compared(c: DefenceContrast) -> str:
    word = "no worse" if c.shown else "not shown to be no worse"
    return (
        f"{c.arm} against {c.against}, {c.measure}: {c.worse} worse and {c.better} better of "
        f"{c.n}, better by {points(c)} points ({word})."
    )


def _change(study: DefenceStudy, arm: DefenceArm, measure: str) -> str:
    first = study.arms[0].name
    key = (arm.name, first, measure)
    contrast = next((c for c in study.contrasts if (c.arm, c.against, c.measure) == key), None)
    if contrast is None:
        return "not measured"
    rise = -contrast.difference if measure == "over-refusal" else contrast.difference
    word = "no worse" if contrast.shown else "not shown to be no worse"
    # adding zero turns the negative zero of a difference into zero
    return f"{100 * rise + 0.0:+.1f} points ({word})".replace("-", "−")


def percent(share: float | None) -> str:
    """Return a share in percent, a dash for none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def to_html(study: DefenceStudy) -> str:
    """Return the study as a self-contained page without scripts or requests."""
    drawings = {
        "prefill": Markup(figures.prefill_svg(study)),
        "plane": Markup(figures.plane_svg(study)),
        "speed": Markup(figures.speed_svg(study)),
    }
    return _environment().get_template("defence.html").render(
        s=study, figures=drawings, kinds=KINDS, summary=summary(study),
        strips=by_prompt(study.examples),
        paired=[c for c in study.contrasts if c.against == study.arms[0].name],
        compared=[c for c in study.contrasts if c.against != study.arms[0].name],
        comparisons=comparisons(study),
        sentences=[line.replace(" %", "\N{NO-BREAK SPACE}%") for line in sentences(study)],
        tasks=list(dict.fromkeys(c.task for c in study.cells if c.role == "attack")),
        declaration=json.dumps(study.study.model_dump(mode="json"), indent=2, ensure_ascii=False),
        where=json.dumps(study.environment, indent=2, ensure_ascii=False),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        # the pages of both rooms share one style sheet
        loader=ChoiceLoader(
            [PackageLoader("draftproof.defence"), PackageLoader("draftproof.report")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(pct=percent, points=points)
    return environment


def _finalize(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, limit=_LONGEST, multiline=True)
    return value


def points(contrast: DefenceContrast) -> str:
    """Return a difference in percentage points with its interval."""
    if contrast.interval is None:
        return "–"
    low, high = (100 * end for end in contrast.interval)
    return f"{100 * contrast.difference:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")


def to_markdown(study: DefenceStudy) -> str:
    """Return the study's tables as GitHub Markdown, without any answer."""
    tasks = list(dict.fromkeys(c.task for c in study.cells if c.role == "attack"))
    lines = [f"## {markdown_text(study.name, limit=80)}", ""]
    lines += [
        f"- {markdown_text(sentence)}" for sentence in (*sentences(study), *comparisons(study))
    ]
    lines += ["", "Attack success, not refused (fulfilled):", ""]
    lines += ["| arm | " + " | ".join(markdown_text(t) for t in tasks) + " |"]
    lines += ["| --- |" + " ---: |" * len(tasks)]
    for arm in study.arms:
        cells = [
            f"{percent(study.attack_success(arm.name, t))} "
            f"({percent(study.attack_success(arm.name, t, harm=True))})"
            for t in tasks
        ]
        lines.append(f"| {markdown_text(arm.name)} | " + " | ".join(cells) + " |")
    lines += ["", "| arm | utility | over-refusal | time ratio | match rate | union | broken |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for arm in study.arms:
        row = (percent(study.utility(arm.name)), percent(study.over_refusal(arm.name)),
               f"{arm.time_ratio:.2f}", percent(arm.match_rate), percent(arm.union_share),
               str(arm.degenerate))  # fmt: skip
        lines.append(f"| {markdown_text(arm.name)} | " + " | ".join(row) + " |")
    lines += ["", "| arm | against | measure | task | n | worse / better | points (95 %) | p | |",
              "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |"]  # fmt: skip
    for c in study.contrasts:
        claim = c.claim if c.shown else f"{c.claim}: not shown"
        lines.append(
            f"| {markdown_text(c.arm)} | {markdown_text(c.against)} | {c.measure} | "
            f"{markdown_text(c.task)} | {c.n} | {c.worse} / {c.better} | {points(c)} | "
            f"{c.p_value:.2g} | {claim} |"
        )
    version = markdown_text(study.draftproof_version)
    lines += ["", f"<sub>draftproof {version}, {markdown_text(study.created)}</sub>"]
    return "\n".join(lines) + "\n"

"""The verdict as JUnit XML: a suite per comparison, a case per claim, no answer text.

What the reader should know before believing it stands in the first suite's output.
Metamorphic relations have a suite of their own, a case each.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from draftproof.records import (
    Cause,
    Comparison,
    Reason,
    Relation,
    Role,
    State,
    TaskEvidence,
    Verdict,
)
from draftproof.report import wording
from draftproof.report.escape import xml_text

RELATIONS = "metamorphic relations"
"""Name of the suite that holds them; no arm can be called so."""
_ELEMENT = {State.FAIL: "failure", State.INVALID: "error", State.INCONCLUSIVE: "skipped"}


@dataclass(frozen=True, slots=True)
class _Case:
    """One claim and how it came out."""

    name: str
    state: State
    text: str


def to_junit(verdict: Verdict) -> str:
    """Return the verdict as JUnit XML.

    FAIL is a failure, INVALID an error, INCONCLUSIVE and unmeasured are skipped with the reason.
    A control has one case, which passes when the control failed, as a control should. A relation
    fails if more than rounding changed; ties where no byte may change, and divergences that were
    not scored again, are skipped with the reason: they decide nothing about a candidate.
    """
    root = ET.Element("testsuites", name=xml_text(verdict.name))
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    suites = [(c.name, _seconds(verdict, c.name), _cases(c)) for c in wording.comparisons(verdict)]
    if verdict.relations:
        suites.append((RELATIONS, "0", [_relation(r) for r in verdict.relations]))
    for name, seconds, cases in suites:
        suite = ET.SubElement(root, "testsuite", name=xml_text(name))
        counts = {
            "tests": len(cases),
            "failures": sum(case.state is State.FAIL for case in cases),
            "errors": sum(case.state is State.INVALID for case in cases),
            "skipped": sum(case.state is State.INCONCLUSIVE for case in cases),
        }
        for key, count in counts.items():
            suite.set(key, str(count))
            totals[key] += count
        suite.set("time", seconds)
        suite.set("timestamp", xml_text(verdict.created))
        for case in cases:
            _add(suite, case, f"draftproof.{verdict.name}.{name}")
        if verdict.warnings and suite is root[0]:
            ET.SubElement(suite, "system-out").text = xml_text("\n".join(verdict.warnings))
    for key, count in totals.items():
        root.set(key, str(count))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _seconds(verdict: Verdict, arm: str) -> str:
    spent = next((entry.seconds for entry in verdict.arms if entry.name == arm), None)
    return f"{spent or 0:.3f}"


def _add(suite: ET.Element, case: _Case, classname: str) -> None:
    element = ET.SubElement(suite, "testcase", classname=xml_text(classname), time="0")
    element.set("name", xml_text(case.name))
    tag = _ELEMENT.get(case.state)
    if tag is not None:
        outcome = ET.SubElement(element, tag, message=xml_text(case.text))
        if tag != "skipped":
            outcome.set("type", case.state.value)
            outcome.text = xml_text(case.text)


def _cases(comparison: Comparison) -> list[_Case]:
    if comparison.role is Role.CONTROL:
        return [_control(comparison)]
    if comparison.role is Role.VARIANT:
        return [_forensics(comparison), _activation(comparison)]
    cases = [_task(task) for task in comparison.tasks if task.gated]
    return [*cases, _forensics(comparison), _activation(comparison), _overall(comparison)]


def _control(comparison: Comparison) -> _Case:
    text = f"{comparison.state.value}: {_because(comparison.reasons, comparison.sentence)}"
    if comparison.expected:
        return _Case("control fails", State.PASS, text)
    # a control that did not run to an end says nothing against the candidate; one that passed does
    state = State.FAIL if comparison.state is State.PASS else comparison.state
    return _Case("control fails", state, text)


def _task(task: TaskEvidence) -> _Case:
    if not task.n:
        return _Case(task.task, State.INCONCLUSIVE, "not measured: no complete pair")
    numbers = (
        f"{task.loss} {wording.plural('regression', task.loss)}, "
        f"{task.gain} {wording.plural('improvement', task.gain)} in {task.n} pairs; net loss "
        f"{wording.points(task.difference)} points, 90% interval {wording.interval(task.interval)}"
    )
    return _Case(task.task, task.state, _because(task.reasons, numbers))


def _forensics(comparison: Comparison) -> _Case:
    name = "byte identity/forensics"
    causes = wording.causes(comparison.counts)
    counts = comparison.counts
    if not counts.n:
        return _Case(name, State.INCONCLUSIVE, "not measured: no pair of answers")
    listed = ", ".join(wording.tally(*entry) for entry in causes.items()) or "none"
    text = f"{counts.identical} of {counts.n} answers identical; divergences: {listed}"
    if Cause.TEMPLATE in causes:
        return _Case(name, State.INVALID, text)
    if Cause.LEAK in causes or Cause.FAULT in causes:
        return _Case(name, State.FAIL, text)
    if Cause.UNEXPLAINED in causes or Cause.TOKENISATION in causes:
        return _Case(name, State.INCONCLUSIVE, f"{text}; the unexplained ones were not re-scored")
    return _Case(name, State.PASS, text)


def _activation(comparison: Comparison) -> _Case:
    proof = comparison.activation
    if proof.proven:
        return _Case("activation", State.PASS, proof.text)
    # recorded answers may come without counters: unmeasured, unless the screen called it invalid
    invalid = comparison.state is State.INVALID
    return _Case("activation", State.INVALID if invalid else State.INCONCLUSIVE, proof.text)


def _relation(relation: Relation) -> _Case:
    name = f"{relation.changed}: {relation.arm} for {relation.of}"
    text = f"{relation.text}; expected: {relation.expected}"
    if not relation.n:
        return _Case(name, State.INCONCLUSIVE, text)
    if relation.held:
        return _Case(name, State.PASS, text)
    undecided = relation.identical + relation.ties + relation.unexplained == relation.n
    return _Case(name, State.INCONCLUSIVE if undecided else State.FAIL, text)


def _overall(comparison: Comparison) -> _Case:
    text = _because(comparison.reasons, comparison.sentence)
    return _Case("verdict", comparison.state, text)


def _because(reasons: tuple[Reason, ...], otherwise: str) -> str:
    return "; ".join(reason.text for reason in reasons) or otherwise

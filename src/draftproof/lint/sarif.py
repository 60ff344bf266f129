"""Lint's findings in SARIF 2.1.0, which code hosts show beside the changed lines."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof import __version__
from draftproof.lint.lint import LintResult
from draftproof.lint.subject import LintFinding

_LEVELS = {"error": "error", "warning": "warning", "note": "note"}


def as_sarif(judged: Sequence[LintResult]) -> dict[str, object]:
    """Return the findings as a SARIF log with one run."""
    findings = [f for one in judged for f in one.findings]
    rules = {f.rule: f for f in findings}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "draftproof lint",
                        "version": __version__,
                        "rules": [_rule(rules[id_]) for id_ in sorted(rules)],
                    }
                },
                "results": [_result(f, sorted(rules).index(f.rule)) for f in findings],
            }
        ],
    }


def _rule(finding: LintFinding) -> dict[str, object]:
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.text},
        "help": {"text": f"{finding.mend}. Known from: {finding.source} ({finding.versions})."},
        "properties": {"kind": finding.kind},
    }


def _result(finding: LintFinding, index: int) -> dict[str, object]:
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.subject}: {finding.setting}: {finding.text}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": finding.file.replace("\\", "/")},
                    "region": {"startLine": finding.line},
                }
            }
        ],
    }

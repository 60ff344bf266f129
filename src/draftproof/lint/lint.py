"""What a configuration promises about its answers, without running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from draftproof.lint.files import read_subjects
from draftproof.lint.knowledge import (
    LintRule,
    is_speculative,
    program_of,
    programs,
    rule,
    rules,
)
from draftproof.lint.launches import command_subjects
from draftproof.lint.subject import ConfigSetting, LintFinding, Subject
from draftproof.records import DraftproofError
from draftproof.records.rules import RULE_FACTS

_COMPARED = ("concurrency", "dtype", "max_new_tokens", "temperature", "extra_body", "api")


@dataclass(frozen=True, slots=True)
class LintResult:
    """One configuration with what was found.

    Attributes:
        subject: The configuration.
        promise: ``L0`` to ``L3``; ``unknown`` where something could not be read; None where all
            was read and nothing speculates.
        findings: In the order of the file.
    """

    subject: Subject
    promise: str | None
    findings: tuple[LintFinding, ...]

    @property
    def unknown(self) -> bool:
        """Whether nothing can be concluded of a configuration that is not meant to be bad."""
        return self.promise == "unknown" and not self.subject.control

    @property
    def lossy(self) -> bool:
        """Whether something is lossy that is not meant to be."""
        return any(f.kind == "lossy" and f.severity == "error" for f in self.findings)


def lint_path(path: Path, added: Sequence[LintRule] = ()) -> list[LintResult]:
    """Lint a plan, a configuration, a checkpoint or a file of commands.

    Args:
        path: File or directory.
        added: Rules beside those that ship.

    Raises:
        DraftproofError: It cannot be read, with the place.
    """
    if not path.exists():
        raise DraftproofError(f"{path}: no such file or directory")
    return _judged(read_subjects(path), added)


def lint_command(command: str, added: Sequence[LintRule] = ()) -> list[LintResult]:
    """Lint one command line; one that starts no server that is known is unknown."""
    subjects = command_subjects(command, "command", folder=Path())
    if not subjects:
        subjects = [Subject("command", "unknown", "command")]
        subjects[0].gaps.append(ConfigSetting(("server",), None, "command", 1))
    return _judged(subjects, added)


def lint_server(url: str, added: Sequence[LintRule] = ()) -> list[LintResult]:
    """Lint what a running server tells about itself.

    Raises:
        DraftproofError: Nobody is there, or something that is no such server, or the extra that
            asks servers is not installed.
    """
    try:
        from draftproof.lint.server import server_subject  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"asking a server needs {error.name}; run: pip install 'draftproof[http]'"
        ) from error
    return _judged([server_subject(url)], added)


def _judged(subjects: Sequence[Subject], added: Sequence[LintRule]) -> list[LintResult]:
    for subject in subjects:
        subject.promise = _own_promise(subject)
    baseline = next((s for s in subjects if _value(s, "role") == "baseline"), None)
    judged = []
    for subject in subjects:
        findings = [f for each in (*rules(), *added) for f in each.findings(subject)]
        findings += _own_findings(subject)
        if baseline is not None and subject is not baseline:
            findings += _unequal(subject, baseline)
        findings = sorted(set(findings), key=lambda f: (f.file, f.line, f.rule))
        kinds = {f.kind for f in findings}
        promise = subject.promise
        if "lossy" in kinds:
            promise = "L0"
        elif "unknown" in kinds:
            promise = "unknown"
        judged.append(LintResult(subject, promise, tuple(findings)))
    return judged


def _value(subject: Subject, key: str) -> object:
    setting = subject.find(key)
    return None if setting is None else setting.value


def _speculates(subject: Subject) -> bool:
    over_http = _value(subject, "engine") == "openai"
    # over HTTP it is the server that speculates: what the arm names as draft is a copy
    settings = [s for s in subject.settings if not (over_http and s.stack == "draftproof")]
    return any(s.on and not _switches(subject, s).isdisjoint(s.path) for s in settings)


def _switches(subject: Subject, setting: ConfigSetting) -> frozenset[str]:
    """Return the settings that switch speculation on; all there are for an unknown stack."""
    program = program_of(setting.stack or subject.stack)
    known = programs() if program is None else (program,)
    return frozenset(name for each in known for name in each.switches)


def _own_promise(subject: Subject) -> str | None:
    """Return the promise before any finding: at best equality up to rounding.

    Above temperature 0 only the distribution can be kept. Our own rules say themselves what they
    promise.
    """
    if _unseen(subject) or subject.gaps:
        return "unknown"
    if not _speculates(subject):
        return None
    temperature = subject.find("temperature")
    sampled = temperature is not None and (temperature.number or 0) > 0
    promise = "L2"
    if subject.stack == "draftproof":
        promise = rule_promises().get(_rule_name(subject), promise)
    return min(promise, "L1") if sampled else promise


def _unseen(subject: Subject) -> bool:
    return _silent(subject) or subject.stack == "unknown"


def _silent(subject: Subject) -> bool:
    """Whether a running server says that it speculates, or nothing, and not how."""
    word = subject.find("speculates")
    asked = word is not None and word.stack is None and word.file.startswith("http")
    return asked and word is not None and word.value is not False


def _rule_name(subject: Subject) -> str:
    return str(_value(subject, "rule") or "exact")


def _own_findings(subject: Subject) -> Iterator[LintFinding]:
    if _silent(subject):
        yield from _at_keys("DP705", ("speculates",), subject)
    elif subject.stack == "unknown" and not subject.gaps:
        yield from _at_keys("DP704", ("url", "serve"), subject)
    for gap in subject.gaps:
        yield rule("DP707" if gap.key == "server" else "DP706").finding(subject, gap)
    named = subject.find("rule") if subject.stack in {"draftproof", "transformers"} else None
    if named is not None:
        promises = rule_promises()
        if named.word not in promises:
            yield rule("DP702").finding(subject, named)
        elif promises[named.word] == "L0":
            yield rule("DP701").finding(subject, named)
    yield from _unknown_names(subject)
    if subject.promise is None and subject.stack not in {"checkpoint", "draftproof"}:
        for setting in subject.settings:
            if is_speculative(setting.key) and setting.on and setting.stack != "draftproof":
                yield rule("DP709").finding(subject, setting)


def _at_keys(rule_id: str, keys: tuple[str, ...], subject: Subject) -> Iterator[LintFinding]:
    for setting in subject.settings:
        if setting.key in keys and setting.value is not False:
            yield rule(rule_id).finding(subject, setting)


def _unknown_names(subject: Subject) -> Iterator[LintFinding]:
    """Yield the settings about speculation that are not known for the program."""
    for setting in subject.settings:
        program = program_of(setting.stack or subject.stack)
        # an arm's options are read again under the names of its stack
        ours = setting.path[0] in {"drafter_options", "rule_options"}
        if program is None or program.stack in {"draftproof", "checkpoint"} or ours:
            continue
        inside = len(setting.path) > 1 and setting.path[-2] == "speculative_config"
        if inside and program.inner:
            if setting.key not in program.inner:
                yield rule("DP118").finding(subject, setting)
        elif is_speculative(setting.key) and not program.knows(setting.key):
            yield rule("DP708").finding(subject, setting)


def _unequal(subject: Subject, baseline: Subject) -> Iterator[LintFinding]:
    for key in _COMPARED:
        if _said(subject, key) != _said(baseline, key):
            place = subject.find(key) or ConfigSetting((key,), None, subject.file, subject.line)
            yield replace(rule("DP703").finding(subject, place), kind=_kind(key), text=_text(key))


def _said(subject: Subject, key: str) -> list[tuple[tuple[str, ...], object]]:
    return [(s.path, s.value) for s in subject.settings if s.path[0] == key]


def _kind(key: str) -> str:
    return "load" if key == "concurrency" else "width"


def _text(key: str) -> str:
    if key == "concurrency":
        return rule("DP703").text
    return f"the baseline has another {key}; a difference may come from it, not from speculation"


def rule_promises() -> dict[str, str]:
    """Return what our own rules promise."""
    return {name: facts.promise.value for name, facts in RULE_FACTS.items()}


def as_document(judged: Sequence[LintResult]) -> dict[str, object]:
    """Return the findings as one JSON document."""
    return {
        "schema_version": "1.1",
        "lossy": any(one.lossy for one in judged),
        "unknown": any(one.unknown for one in judged),
        "subjects": [
            {
                "name": one.subject.name,
                "stack": one.subject.stack,
                "file": one.subject.file,
                "line": one.subject.line,
                "promise": one.promise,
                "control": one.subject.control,
                "lossy": one.lossy,
                "findings": [
                    {name: getattr(f, name) for name in LintFinding.__slots__} for f in one.findings
                ],
            }
            for one in judged
        ],
    }

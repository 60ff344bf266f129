"""What a configuration promises about its answers, without running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from draftproof.lint.command import command_subjects
from draftproof.lint.files import read_subjects
from draftproof.lint.rules import RULES, SPECULATIVE_KEYS
from draftproof.lint.subject import ConfigSetting, LintFinding, LintRule, Subject
from draftproof.records import DraftproofError
from draftproof.records.rules import RULE_FACTS

_SWITCHES = frozenset(
    [
        "speculative_config",
        "speculative_model",
        "speculative_algorithm",
        "speculative_draft_model_path",
        "spec_draft_model",
        "spec_type",
        "draft",
        "draft_model",
        "drafter",
        "assistant_model",
        "prompt_lookup_num_tokens",
        "assistant_early_exit",
        "speculators_config",
        "decoding_type",
        "num_speculative_tokens",
    ]
)
"""Settings whose presence switches speculation on."""
_OWN = LintRule(
    "DP701", "lossy", ("draftproof",), ("rule",), lambda *_: True,
    "our own rule declares itself lossy", "use exact for a candidate",
    "draftproof, decoding/rules", "this version",
)  # fmt: skip
_UNKNOWN_RULE = LintRule(
    "DP702", "unknown", ("draftproof",), ("rule",), lambda *_: True,
    "no rule of that name", "see `draftproof rules`", "draftproof, decoding/rules", "this version",
)  # fmt: skip
_UNEQUAL = LintRule(
    "DP703", "load", ("draftproof",), ("concurrency",), lambda *_: True,
    "the baseline answers under another load, so load and speculation are not told apart",
    "give both arms the same value", "draftproof", "this version",
)  # fmt: skip
_UNKNOWN_SETTINGS = LintRule(
    "DP704", "unknown", ("unknown",), ("url", "serve"), lambda *_: True,
    "the settings of this server are not here, so nothing can be said of it",
    "lint the command that starts it", "draftproof", "this version",
)  # fmt: skip
_UNKNOWN_ACCEPTANCE = LintRule(
    "DP705", "unknown", ("vllm", "sglang", "llama.cpp", "trtllm", "draftproof"), ("speculates",),
    lambda s, _: s.value is not False,
    "the server does not tell how it accepts what it drafts", "lint the command that starts it",
    "draftproof", "this version",
)  # fmt: skip
_KEY = LintRule(
    "DP118", "unknown", ("vllm",), (), lambda *_: True,
    "not a name that vLLM is known to read here", "check it against the version's documentation",
    "vLLM, config/speculative.py", "0.33",
)  # fmt: skip
_COMPARED = ("concurrency", "dtype", "max_new_tokens", "temperature", "extra_body", "api")


@dataclass(frozen=True, slots=True)
class LintResult:
    """One configuration with what was found.

    Attributes:
        subject: The configuration.
        promise: ``L0`` to ``L3``; ``unknown`` where a server's settings are not here; None where
            nothing speculates.
        findings: In the order of the file.
    """

    subject: Subject
    promise: str | None
    findings: tuple[LintFinding, ...]

    @property
    def lossy(self) -> bool:
        """Whether something is lossy that is not meant to be."""
        return any(f.kind == "lossy" and f.severity == "error" for f in self.findings)


def lint_path(path: Path) -> list[LintResult]:
    """Lint a plan, a configuration, a checkpoint or a file of commands.

    Raises:
        DraftproofError: It cannot be read, with the place.
    """
    if not path.exists():
        raise DraftproofError(f"{path}: no such file or directory")
    return _judged(read_subjects(path))


def lint_command(command: str) -> list[LintResult]:
    """Lint one command line.

    Raises:
        DraftproofError: It starts no server that is known.
    """
    found = command_subjects(command, "command")
    if not found:
        raise DraftproofError(
            "the command starts none of vllm, sglang, llama-server, trtllm-serve and draftproof"
        )
    return _judged(found)


def lint_server(url: str) -> list[LintResult]:
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
    return _judged([server_subject(url)])


def _judged(subjects: Sequence[Subject]) -> list[LintResult]:
    for subject in subjects:
        subject.promise = _own_promise(subject)
    baseline = next((s for s in subjects if _value(s, "role") == "baseline"), None)
    judged = []
    for subject in subjects:
        findings = [f for rule in RULES for f in rule.findings(subject)]
        findings += _own_findings(subject)
        if baseline is not None and subject is not baseline:
            findings += _unequal(subject, baseline)
        findings.sort(key=lambda f: (f.file, f.line, f.rule))
        lossy = any(f.kind == "lossy" for f in findings)
        judged.append(LintResult(subject, "L0" if lossy else subject.promise, tuple(findings)))
    return judged


def _value(subject: Subject, key: str) -> object:
    setting = subject.find(key)
    return None if setting is None else setting.value


def _speculates(subject: Subject) -> bool:
    own = _value(subject, "engine") == "openai"
    # over HTTP it is the server that speculates: what the arm names as draft is a copy
    settings = [s for s in subject.settings if not (own and s.stack == "draftproof")]
    return any(_SWITCHES.intersection(s.path) and s.on for s in settings)


def _own_promise(subject: Subject) -> str | None:
    """Return the promise before any finding: at best equality up to rounding.

    Above temperature 0 only the distribution can be kept. Our own rules say themselves what they
    promise.
    """
    if _unseen(subject):
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
    if _silent(subject):
        return True
    return subject.stack == "unknown" and _value(subject, "engine") == "openai"


def _silent(subject: Subject) -> bool:
    """Whether a running server says that it speculates, or nothing, and not how."""
    word = subject.find("speculates")
    asked = word is not None and word.stack is None and word.file.startswith("http")
    return asked and word is not None and word.value is not False


def _rule_name(subject: Subject) -> str:
    return str(_value(subject, "rule") or "exact")


def _own_findings(subject: Subject) -> Iterator[LintFinding]:
    if _silent(subject):
        yield from _UNKNOWN_ACCEPTANCE.findings(subject)
    elif _unseen(subject):
        yield from _UNKNOWN_SETTINGS.findings(replace(subject, settings=_without_stack(subject)))
    rule = subject.find("rule") if subject.stack in {"draftproof", "transformers"} else None
    if rule is not None:
        promises = rule_promises()
        if rule.word not in promises:
            yield _UNKNOWN_RULE.finding(subject, rule)
        elif promises[rule.word] == "L0":
            yield _OWN.finding(subject, rule)
    if subject.stack == "vllm":
        for setting in subject.under("speculative_config"):
            if setting.path[-2] == "speculative_config" and setting.key not in SPECULATIVE_KEYS:
                yield _KEY.finding(subject, setting)


def _without_stack(subject: Subject) -> list[ConfigSetting]:
    return [replace(s, stack=None) for s in subject.settings]


def _unequal(subject: Subject, baseline: Subject) -> Iterator[LintFinding]:
    for key in _COMPARED:
        if _said(subject, key) != _said(baseline, key):
            place = subject.find(key) or ConfigSetting((key,), None, subject.file, subject.line)
            yield replace(_UNEQUAL.finding(subject, place), kind=_kind(key), text=_text(key))


def _said(subject: Subject, key: str) -> list[tuple[tuple[str, ...], object]]:
    return [(s.path, s.value) for s in subject.settings if s.path[0] == key]


def _kind(key: str) -> str:
    return "load" if key == "concurrency" else "width"


def _text(key: str) -> str:
    if key == "concurrency":
        return _UNEQUAL.text
    return f"the baseline has another {key}, so it and speculation are not told apart"


def rule_promises() -> dict[str, str]:
    """Return what our own rules promise."""
    return {name: facts.promise.value for name, facts in RULE_FACTS.items()}


def as_document(judged: Sequence[LintResult]) -> dict[str, object]:
    """Return the findings as one JSON document."""
    return {
        "schema_version": "1.0",
        "lossy": any(one.lossy for one in judged),
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

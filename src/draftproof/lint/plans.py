"""Reading plans: a configuration an arm, each with the settings of the server that it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from draftproof.lint.launches import command_subjects
from draftproof.lint.subject import GROUP, ConfigSetting, Subject
from draftproof.records import DraftproofError
from draftproof.stacks.vllm.config import METHODS, OUR_OPTIONS, REJECTION


def plan_subjects(text: str, path: Path) -> list[Subject]:
    """Return a subject an arm, in which the plan's own settings count where the arm has none.

    Raises:
        DraftproofError: The arms are no list of mappings.
    """
    root = yaml.SafeLoader(text).get_single_node()
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DraftproofError(f"{path}: broken YAML: {error}") from error
    arms = document.get("arms")
    if (
        not isinstance(root, yaml.MappingNode)
        or not isinstance(arms, list)
        or not all(isinstance(arm, dict) for arm in arms)
    ):
        raise DraftproofError(f"{path}: arms must be a list of mappings")
    nodes = next(value for key, value in root.value if key.value == "arms").value
    shared = {k: v for k, v in document.items() if k not in {"arms", "name", "battery"}}
    subjects = []
    for arm, node in zip(arms, nodes, strict=True):
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
        start = node.start_mark.line + 1
        subjects.append(_arm({**shared, **arm}, lines, str(path), start, path.parent))
    return subjects


def _arm(
    arm: dict[str, object], lines: dict[str, int], where: str, start: int, folder: Path
) -> Subject:
    engine = arm.get("engine")
    stack = str(engine) if engine in {"transformers", "vllm"} else "draftproof"
    subject = Subject(
        f"arm {arm.get('name', '?')}", stack, where, start, control=arm.get("role") == "control"
    )
    for key, value in arm.items():
        line = lines.get(key, start)
        if isinstance(value, dict):
            subject.settings += [
                ConfigSetting((key, str(k)), v, where, line, stack) for k, v in value.items()
            ]
        held = GROUP if isinstance(value, dict) else value
        # an arm's own fields are ours whatever its engine
        subject.settings.append(ConfigSetting((str(key),), held, where, line, "draftproof"))
    if engine == "vllm":
        subject.settings += _in_process(arm, lines, where, start)
    if engine == "openai":
        subject.stack = "unknown"
        line = lines.get("serve", start)
        # draftproof puts its own Python there
        command = str(arm.get("serve", "")).replace("{python}", "python")
        for served in command_subjects(command, where, subject.name, folder, line)[:1]:
            subject.stack = served.stack
            subject.settings += [
                replace(s, line=line if s.file == where else s.line) for s in served.settings
            ]
            subject.gaps += served.gaps
    return subject


def _in_process(
    arm: dict[str, object], lines: dict[str, int], where: str, start: int
) -> Iterator[ConfigSetting]:
    """Yield what an arm of the vllm engine hands to vLLM, under vLLM's names."""
    drafter = str(arm.get("drafter") or "draft_model")
    named: dict[str, dict[str, object]] = {
        "drafter": {"method": METHODS.get(drafter, drafter)},
        "rule": {"rejection_sample_method": REJECTION.get(str(arm["rule"]), arm["rule"])}
        if "rule" in arm
        else {},
    }
    for field in ("drafter_options", "rule_options"):
        options = arm.get(field)
        pairs = options.items() if isinstance(options, dict) else ()
        named[field] = {str(k): v for k, v in pairs if k not in OUR_OPTIONS}
    for field in named.keys() & arm.keys():
        for name, value in named[field].items():
            line = lines.get(field, start)
            yield ConfigSetting(("speculative_config", name), value, where, line, "vllm")

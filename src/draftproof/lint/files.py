"""Reading configuration files into settings: YAML, JSON, checkpoints and plans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from draftproof.lint.command import command_subjects, named_files
from draftproof.lint.subject import GROUP, ConfigSetting, Subject
from draftproof.records import DraftproofError
from draftproof.stacks.vllm.config import METHODS, OUR_OPTIONS, REJECTION

_MAX_FILE = 4 * 1024 * 1024
_MAX_SETTINGS = 20_000
_CHECKPOINT_FILES = ("config.json", "generation_config.json")
_TRT_NAMES = frozenset(
    {"decoding_type", "kv_cache_config", "cuda_graph_config", "pytorch_backend_config",
     "enable_attention_dp", "disable_overlap_scheduler", "moe_config", "max_draft_len"}
)  # fmt: skip


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        DraftproofError: Not there, not text, or larger than any configuration.
    """
    try:
        if path.stat().st_size > _MAX_FILE:
            raise DraftproofError(f"{path}: larger than {_MAX_FILE:,} bytes; no configuration is")
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DraftproofError(f"{path}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise DraftproofError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_subjects(path: Path) -> list[Subject]:
    """Return the configurations that a file, or a checkpoint's directory, holds.

    Raises:
        DraftproofError: Nothing that is known, or broken at a named line.
    """
    if path.is_dir():
        return [_checkpoint(path)]
    text = read_text(path)
    if path.suffix.lower() in {".yaml", ".yml", ".json"}:
        settings = read_settings(text, str(path), as_json=path.suffix.lower() == ".json")
        if any(s.path[0] == "arms" for s in settings):
            return _plan(text, path)
        return [_configuration(settings, path)]
    found = command_subjects(text, str(path))
    if not found:
        raise DraftproofError(
            f"{path}: no command that starts vllm, sglang, llama-server, trtllm-serve or "
            "draftproof was found in it"
        )
    return [_with_files(subject, path.parent) for subject in found]


def read_settings(text: str, where: str, *, as_json: bool) -> list[ConfigSetting]:
    """Return all values of a YAML or JSON document with their lines.

    Raises:
        DraftproofError: Broken at a named line, or larger than any configuration.
    """
    try:
        if as_json:
            json.loads(text)
            # JSON is YAML but for tabs between its tokens
            text = text.replace("\t", " ")
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        settings: list[ConfigSetting] = []
        if root is not None:
            for setting in _walk(loader, root, (), where):
                settings.append(setting)
                if len(settings) > _MAX_SETTINGS:
                    raise DraftproofError(f"{where}: holds more than {_MAX_SETTINGS:,} values")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if as_json else "YAML"
        raise DraftproofError(f"{where}: broken {kind}: {error}") from error
    if root is None or not isinstance(root, yaml.MappingNode):
        raise DraftproofError(f"{where}: a mapping of settings is needed")
    return settings


def _walk(
    loader: yaml.SafeLoader, node: yaml.Node, path: tuple[str, ...], where: str
) -> Iterator[ConfigSetting]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(loader.construct_object(key)) if isinstance(key, yaml.ScalarNode) else "?"
            inner = (*path, name.replace("-", "_"))
            if not isinstance(value, yaml.ScalarNode):
                held = GROUP if value.value else None
                yield ConfigSetting(inner, held, where, key.start_mark.line + 1)
            for setting in _walk(loader, value, inner, where):
                at_key = isinstance(value, yaml.ScalarNode)
                yield replace(setting, line=key.start_mark.line + 1) if at_key else setting
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _walk(loader, value, path or ("list",), where)
    else:
        value = loader.construct_object(node)
        yield ConfigSetting(path or ("value",), value, where, node.start_mark.line + 1)


def _checkpoint(path: Path) -> Subject:
    subject = Subject(path.name or str(path), "checkpoint", str(path))
    for name in _CHECKPOINT_FILES:
        if (path / name).is_file():
            file = path / name
            subject.settings += read_settings(read_text(file), str(file), as_json=True)
    if not subject.settings:
        raise DraftproofError(
            f"{path}: no checkpoint: it has neither {_CHECKPOINT_FILES[0]} nor "
            f"{_CHECKPOINT_FILES[1]}"
        )
    if (path / "custom_generate").is_dir():
        subject.settings.append(
            ConfigSetting(("custom_generate",), True, str(path / "custom_generate"), 1)
        )
    return subject


def _configuration(settings: list[ConfigSetting], path: Path) -> Subject:
    names = {name for s in settings for name in s.path}
    if path.name in _CHECKPOINT_FILES or names & {"architectures", "speculators_config"}:
        stack = "checkpoint"
    elif names & _TRT_NAMES:
        stack = "trtllm"
    elif any(n.startswith("speculative_") and n != "speculative_config" for n in names):
        stack = "sglang"
    elif "speculative_config" in names or {"method", "num_speculative_tokens"} <= names:
        stack = "vllm"
    else:
        stack = "unknown"
    return Subject(path.name, stack, str(path), settings=settings)


def _with_files(subject: Subject, folder: Path) -> Subject:
    """Add the settings of the configuration files that a command names, where they are here."""
    for setting in list(named_files(subject)):
        file = folder / str(setting.value)
        if file.suffix.lower() in {".yaml", ".yml", ".json"} and file.is_file():
            as_json = file.suffix.lower() == ".json"
            subject.settings += read_settings(read_text(file), str(file), as_json=as_json)
    return subject


def _plan(text: str, path: Path) -> list[Subject]:
    """Return a subject an arm, in which the plan's own settings count where the arm has none."""
    root = yaml.SafeLoader(text).get_single_node()
    document = yaml.safe_load(text)
    arms = document.get("arms")
    if (
        not isinstance(root, yaml.MappingNode)
        or not isinstance(arms, list)
        or not all(isinstance(arm, dict) for arm in arms)
    ):
        raise DraftproofError(f"{path}: arms must be a list of mappings")
    nodes = next(value for key, value in root.value if key.value == "arms").value
    shared = {k: v for k, v in document.items() if k not in {"arms", "name", "battery"}}
    found = []
    for arm, node in zip(arms, nodes, strict=True):
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
        start = node.start_mark.line + 1
        found.append(_arm({**shared, **arm}, lines, str(path), start, path.parent))
    return found


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
        subject.settings.append(ConfigSetting((str(key),), held, where, line, stack))
    if engine == "vllm":
        subject.settings += _in_process(arm, lines, where, start)
    if engine == "openai":
        subject.stack = "unknown"
        for served in command_subjects(str(arm.get("serve", "")), where, subject.name)[:1]:
            subject.stack = served.stack
            subject.settings += [
                replace(s, line=lines.get("serve", start) if s.file == where else s.line)
                for s in _with_files(served, folder).settings
            ]
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
        given = arm.get(field)
        own = given.items() if isinstance(given, dict) else ()
        named[field] = {str(k): v for k, v in own if k not in OUR_OPTIONS}
    for field in named.keys() & arm.keys():
        for name, value in named[field].items():
            line = lines.get(field, start)
            yield ConfigSetting(("speculative_config", name), value, where, line, "vllm")

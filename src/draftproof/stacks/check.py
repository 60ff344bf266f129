"""What is wrong with an arm, found without answering anything and without loading weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from draftproof.records import DraftproofError
from draftproof.records.rules import RULE_FACTS
from draftproof.stacks import make_engine
from draftproof.stacks.http.options import command_words
from draftproof.stacks.spec import ArmSpec, Misfit

_TREES = frozenset({"draft_tree", "medusa", "eagle", "eagle2", "eagle3"})


@dataclass(slots=True)
class ArmFindings:
    """What was found out about an arm.

    Attributes:
        arm: The arm.
        faults: What is wrong, each with the field of the arm.
        needed: Bytes that each model takes, by its name, type and device.
    """

    arm: ArmSpec
    faults: list[Misfit] = field(default_factory=list)
    needed: dict[tuple[str, str, str], int] = field(default_factory=dict)

    @contextmanager
    def at(self, where: str, options: Mapping[str, object] | None = None) -> Iterator[None]:
        """Note what is raised meanwhile as a fault of a field.

        Args:
            where: The field.
            options: Where they are given, the fault is of the one that the message names, if it
                names one.
        """
        try:
            yield
        except (DraftproofError, ValueError) as error:
            said = (
                str(error)
                .removeprefix(f"arm {self.arm.name!r}: ")
                .removeprefix(f"{where}: ")
                .removeprefix(f"{where} ")
            )
            self.faults.append((_option_named(where, options or {}, said), said))


def _option_named(where: str, options: Mapping[str, object], said: str) -> str:
    words = set(re.findall(r"\w+", said))
    named = [name for name in options if name in words]
    new = re.search(r"option '?(heads|recordings|layers)\b", said)
    if not named and new:
        named = [new[1]]
    return f"{where}.{named[0]}" if len(named) == 1 else where


def examined(arm: ArmSpec) -> ArmFindings:
    """Return everything that is wrong with an arm, as far as can be told beforehand.

    Nothing is answered, no weights are loaded and no server is started or asked.
    """
    found = ArmFindings(arm)
    with found.at("engine"):
        make_engine(arm)
    if not found.faults:
        _CHECKS[arm.engine](found)
    return found


def _local(found: ArmFindings) -> None:
    from draftproof.decoding.mutants import MUTANTS  # noqa: PLC0415 - needs torch
    from draftproof.decoding.pretrained import require_same_vocabulary, served  # noqa: PLC0415
    from draftproof.decoding.rules import RULES, make_rule  # noqa: PLC0415
    from draftproof.stacks.drafting import drafter_of, shaper_of  # noqa: PLC0415
    from draftproof.stacks.previews import preview  # noqa: PLC0415

    arm = found.arm
    if arm.rule not in RULES:
        found.faults.append(
            ("rule", f"no rule is called {arm.rule!r}; there are {', '.join(sorted(RULES))}")
        )
    else:
        with found.at("rule_options", arm.rule_options):
            make_rule(arm.rule, arm.rule_options)
        if arm.drafter in _TREES and not RULE_FACTS[arm.rule].judges_trees:
            said = f"the rule {arm.rule!r} judges chains; drafter {arm.drafter!r} proposes trees"
            found.faults.append(("rule", said))
    if arm.mutant is not None and arm.mutant not in MUTANTS:
        said = f"no mutant is called {arm.mutant!r}; there are {', '.join(sorted(MUTANTS))}"
        found.faults.append(("mutant", said))
    opened = preview(found)
    target = draft = None
    if opened.target is not None:
        with found.at("target"):
            target = served(opened.target)
    if opened.draft is not None:
        with found.at("draft"):
            draft = served(opened.draft)
            if opened.target and arm.drafter != "intersection":
                require_same_vocabulary(opened.target, opened.draft, padded=True)
    if target is not None:
        with found.at("processors", arm.processors):
            shaper_of(arm, target)(1)
        if draft is not None or arm.draft is None:
            with found.at("drafter_options", arm.drafter_options):
                drafter_of(arm, target, draft)


def _transformers(found: ArmFindings) -> None:
    from draftproof.decoding.pretrained import require_same_vocabulary  # noqa: PLC0415 - torch
    from draftproof.stacks.previews import preview  # noqa: PLC0415
    from draftproof.stacks.transformers import speculative_options  # noqa: PLC0415

    arm, opened = found.arm, preview(found)
    if opened.target is None:
        return
    if opened.draft is not None:
        with found.at("draft"):
            require_same_vocabulary(opened.target, opened.draft)
    kind = "drafter_options" if arm.drafter else "rule_options"
    with found.at(kind, {**arm.drafter_options, **arm.rule_options}):
        speculative_options(arm, opened.target.module)


def _openvino(found: ArmFindings) -> None:
    from draftproof.stacks.openvino.drafting import drafting  # noqa: PLC0415 - an extra
    from draftproof.stacks.openvino.model import model_directory, quietly  # noqa: PLC0415

    arm = found.arm
    with found.at("target"):
        model_directory(arm.target)
    with found.at("draft" if arm.draft else "drafter_options", arm.drafter_options):
        if arm.draft is not None:
            model_directory(arm.draft)
        drafting(arm)
    if arm.device != "auto":
        known = [str(d) for d in quietly("openvino").Core().available_devices]
        kind = arm.device.upper()
        if ":" not in kind and kind.partition(".")[0] not in {d.partition(".")[0] for d in known}:
            said = f"no device {arm.device!r} can be used here; there are {', '.join(known)}"
            found.faults.append(("device", said))


def _vllm(found: ArmFindings) -> None:
    from draftproof.lab.models import resolve  # noqa: PLC0415 - small
    from draftproof.stacks.vllm.config import engine_arguments  # noqa: PLC0415

    arm = found.arm
    _names(found)
    options = {**arm.drafter_options, **arm.rule_options, **arm.properties}
    where = "properties" if arm.properties else "drafter_options"
    with found.at(where, options):
        engine_arguments(arm, resolve)


def _mlx(found: ArmFindings) -> None:
    if found.arm.temperature > 0:
        found.faults.append(("temperature", "the mlx engine answers at temperature 0"))
    _names(found)


def _openai(found: ArmFindings) -> None:
    from draftproof.stacks.http.client import from_environment  # noqa: PLC0415 - an extra

    arm = found.arm
    for where, variable in (
        ("api_key_env", arm.api_key_env),
        *((f"headers_env.{header}", name) for header, name in arm.headers_env.items()),
    ):
        if variable is not None:
            with found.at(where):
                from_environment(where, variable)
    if arm.serve is not None:
        with found.at("serve"):
            _require_command(arm.serve)
    _names(found)


def _require_command(command: str) -> None:
    """Check that a server's command can be started, as far as its first word tells.

    Raises:
        DraftproofError: It cannot.
    """
    try:
        words = command_words(command, 0)
    except ValueError as error:
        raise DraftproofError(f"the command cannot be read: {error}") from error
    if not words:
        raise DraftproofError("the command is empty")
    if shutil.which(words[0]) is None:
        raise DraftproofError(f"there is no program {words[0]!r} to start")


def _names(found: ArmFindings) -> None:
    """Check the models of another stack: names of the lab, and paths that must be there."""
    for where, name in (("target", found.arm.target), ("draft", found.arm.draft)):
        if not name:
            continue
        if name.startswith("lab:"):
            from draftproof.lab.models import model_path  # noqa: PLC0415 - small

            with found.at(where):
                model_path(name.removeprefix("lab:"))
        elif (name.startswith((".", "/", "~")) or name.count("/") > 1) and not Path(name).exists():
            found.faults.append((where, f"{name}: there is no such file or directory"))


_CHECKS: dict[str, Callable[[ArmFindings], None]] = {
    "local": _local,
    "transformers": _transformers,
    "openvino": _openvino,
    "mlx": _mlx,
    "vllm": _vllm,
    "openai": _openai,
}

"""What the target says about one position of an answer: local, over HTTP, in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from draftproof.records import Completion, Prompt
from draftproof.rescoring.rescorer import Helpers
from draftproof.stacks import ArmSpec, not_installed

if TYPE_CHECKING:
    from draftproof.rescoring.rescore import LocalRescorer


def make_rescorer(
    spec: ArmSpec,
    prompts: Mapping[str, Prompt],
    sample: Sequence[Completion],
    helpers: Helpers | None = None,
) -> LocalRescorer | None:
    """Return what scores positions again with the arm's own target and draft.

    Args:
        spec: The arm under suspicion.
        prompts: The battery's prompts by id.
        sample: Answers of the baseline to calibrate the noise bound with.
        helpers: Take a part of the work, where there are any.

    None where the arm names no target that could be loaded here (a served model may not be, nor
    the original of an exported one), or one that the local decoder cannot run.
    """
    if spec.engine == "openvino":
        spec = _of_originals(spec)
    if not spec.target:
        return None
    try:
        from draftproof.decoding.support import UnservedError  # noqa: PLC0415 - needs torch
        from draftproof.rescoring.rescore import LocalRescorer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise not_installed(spec, "local", error) from error
    try:
        return LocalRescorer(spec, prompts, sample, helpers)
    except UnservedError:
        return None


def _of_originals(spec: ArmSpec) -> ArmSpec:
    """Return the arm with the models that its exported ones were made from, none if unknown."""
    from draftproof.stacks.openvino.model import source_of  # noqa: PLC0415 - for this engine

    target, draft = (_original(name, source_of) for name in (spec.target, spec.draft))
    return spec.model_copy(update={"target": target or "", "draft": draft})


def _original(name: str | None, source_of: Callable[[str], str | None]) -> str | None:
    source = source_of(name) if name else None
    gone = source is not None and Path(source).is_absolute() and not Path(source).exists()
    return None if gone else source


__all__ = ["make_rescorer"]

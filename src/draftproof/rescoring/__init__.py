"""What the target says about one position of an answer: local, over HTTP, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from draftproof.records import Completion, Prompt
from draftproof.rescoring.opinion import Helpers
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
    the original of an exported one).
    """
    if spec.engine == "openvino":
        spec = _of_originals(spec)
    if not spec.target:
        return None
    try:
        from draftproof.rescoring.rescore import LocalRescorer  # noqa: PLC0415 - needs torch
    except ModuleNotFoundError as error:
        raise not_installed(spec, "local", error) from error
    return LocalRescorer(spec, prompts, sample, helpers)


def _of_originals(spec: ArmSpec) -> ArmSpec:
    """Return the arm with the models that its exported ones were made from, none if unknown."""
    from draftproof.stacks.openvino.model import source_of  # noqa: PLC0415 - for this engine

    found = {}
    for part in ("target", "draft"):
        name = getattr(spec, part)
        source = source_of(name) if name else None
        gone = source is not None and Path(source).is_absolute() and not Path(source).exists()
        found[part] = None if gone else source
    return spec.model_copy(update={"target": found["target"] or "", "draft": found["draft"]})


__all__ = ["make_rescorer"]

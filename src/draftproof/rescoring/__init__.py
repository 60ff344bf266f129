"""What the target says about answers: whole or at one position, local or over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from draftproof.records import UnservedError
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.rescorer import Helpers
from draftproof.rescoring.scored_answers import Instrument
from draftproof.stacks import ArmSpec, not_installed

if TYPE_CHECKING:
    from draftproof.rescoring.rescore import LocalRescorer
    from draftproof.rescoring.score_whole import LocalInstrument


def make_rescorer(
    spec: ArmSpec, helpers: Helpers | None = None, *, exact: bool = False
) -> LocalRescorer | None:
    """Return what scores positions again with the arm's own target and draft.

    Args:
        spec: The arm under suspicion.
        helpers: Take a part of the work, where there are any.
        exact: Compute in the arm's own arithmetic, whose bits do not depend on shapes; otherwise
            in float32 where memory allows.

    None where the arm names no target that could be loaded here (a served model may not be, nor
    the original of an exported one), or one that the local decoder cannot run.
    """
    spec = _of_originals(spec)
    if not spec.target:
        return None
    try:
        from draftproof.rescoring.rescore import LocalRescorer  # noqa: PLC0415 - needs torch
        from draftproof.rescoring.score_whole import instrument_dtype  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise not_installed(spec, "local", error) from error
    dtype = spec.dtype if exact else instrument_dtype(spec.target)
    with suppress(UnservedError):
        return LocalRescorer(spec.model_copy(update={"dtype": dtype}), helpers)
    return None


def instrument_of(
    spec: ArmSpec, rescore: RescoreOptions | None, progress: Callable[..., None]
) -> Instrument | None:
    """Return what scores an arm's answers whole: a server, or the arm's target; None without one.

    Args:
        spec: The arm.
        rescore: The server, where one scores.
        progress: Called with answers scored, and answers in all where that is known.

    Raises:
        DraftproofError: The target cannot be loaded, or an extra is not installed.
    """
    if rescore is not None:
        from draftproof.rescoring.score_served import ServedInstrument  # noqa: PLC0415 - httpx

        return ServedInstrument(rescore, progress=progress)
    spec = _of_originals(spec)
    return _whole(spec, spec.target, progress) if spec.target else None


def draft_instrument(spec: ArmSpec, progress: Callable[..., None]) -> Instrument | None:
    """Return what replays an arm's draft on answers; None where the draft is no model at hand.

    Args:
        spec: The arm.
        progress: As for `instrument_of`.

    Raises:
        DraftproofError: The draft cannot be loaded, or an extra is not installed.
    """
    spec = _of_originals(spec)
    chains = spec.drafter in {None, "draft_model", "draft_tree"} and not spec.steered
    if not spec.target or not spec.draft or not chains:
        return None
    return _whole(spec, spec.draft, progress, dtype=spec.dtype, prompts_of=spec.target)


def computes_same_bits(spec: ArmSpec) -> bool:
    """Return whether a local arm runs kernels of ours whose bits do not depend on shapes.

    Its target is loaded.
    """
    if spec.engine != "local":
        return False
    from draftproof.stacks import models  # noqa: PLC0415 - needs torch

    options = (spec.dtype, spec.device, spec.trust_remote_code)
    with suppress(UnservedError):
        return models.load(spec.target, *options).model.shape_free
    return False


def _whole(
    spec: ArmSpec, model: str, progress: Callable[..., None], **options: str
) -> LocalInstrument | None:
    try:
        from draftproof.rescoring.score_whole import LocalInstrument  # noqa: PLC0415 - torch
    except ModuleNotFoundError as error:
        raise not_installed(spec, "local", error) from error
    with suppress(UnservedError):
        return LocalInstrument(
            model,
            device=spec.device,
            trust_remote_code=spec.trust_remote_code,
            progress=progress,
            **options,
        )
    return None  # the local decoder cannot run it


def _of_originals(spec: ArmSpec) -> ArmSpec:
    """Return an arm with the models that its exported ones were made from, none if unknown."""
    if spec.engine != "openvino":
        return spec
    from draftproof.stacks.openvino.model import source_of  # noqa: PLC0415 - for this engine

    target, draft = (_original(name, source_of) for name in (spec.target, spec.draft))
    return spec.model_copy(update={"target": target or "", "draft": draft})


def _original(name: str | None, source_of: Callable[[str], str | None]) -> str | None:
    source = source_of(name) if name else None
    gone = source is not None and Path(source).is_absolute() and not Path(source).exists()
    return None if gone else source


__all__ = ["computes_same_bits", "draft_instrument", "instrument_of", "make_rescorer"]

"""Who answers: one file a stack, each importable without the library it drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.rescoring.opinion import Helpers
from draftproof.stacks.engine import Engine
from draftproof.stacks.spec import ArmSpec

if TYPE_CHECKING:
    from draftproof.rescoring.rescore import LocalRescorer

_EXTRAS: dict[str, str | None] = {
    "local": "local",
    "transformers": "local",
    "openvino": "openvino",
    "mlx": "mlx",
    "vllm": None,
    "openai": "http",
}
"""What to install for an engine; vLLM is none of our extras, because its pins exclude ours."""


def make_engine(spec: ArmSpec, logs: Path | None = None) -> Engine:
    """Return the engine that an arm names, not yet opened.

    Args:
        spec: The arm.
        logs: Directory for the output of servers that the engine starts.

    Raises:
        DraftproofError: The engine's extra is not installed.
    """
    try:
        if spec.engine == "openai":
            from draftproof.stacks.http.engine import OpenAIEngine  # noqa: PLC0415

            return OpenAIEngine(spec, logs)
        if spec.engine == "openvino":
            from draftproof.stacks.openvino.engine import OpenVINOEngine  # noqa: PLC0415

            return OpenVINOEngine(spec)
        if spec.engine == "mlx":
            from draftproof.stacks.mlx import MLXEngine  # noqa: PLC0415

            return MLXEngine(spec)
        if spec.engine == "vllm":
            from draftproof.stacks.vllm.engine import VLLMEngine  # noqa: PLC0415

            return VLLMEngine(spec)
        if spec.engine == "transformers":
            from draftproof.stacks.transformers import TransformersEngine  # noqa: PLC0415

            return TransformersEngine(spec)
        from draftproof.stacks.local import LocalEngine  # noqa: PLC0415

        return LocalEngine(spec)
    except ModuleNotFoundError as error:
        raise _not_installed(spec, _EXTRAS[spec.engine], error) from error


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
        raise _not_installed(spec, "local", error) from error
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


def _not_installed(spec: ArmSpec, extra: str | None, error: ModuleNotFoundError) -> DraftproofError:
    mend = f"run: pip install 'draftproof[{extra}]'"
    if extra is None:
        mend = (
            f"{spec.engine} has an environment of its own, because its pins exclude ours: install "
            f"draftproof into it, as stacks/{spec.engine}/make.sh does, and screen with its python"
        )
    return DraftproofError(
        f"arm {spec.name!r}: the {spec.engine} engine needs {error.name}, which is not "
        f"installed; {mend}"
    )


__all__ = ["ArmSpec", "Engine", "make_engine", "make_rescorer"]

"""Who answers: one file a stack, each importable without the library it drives."""

from __future__ import annotations

from pathlib import Path

from draftproof.records import DraftproofError
from draftproof.stacks.base import Engine
from draftproof.stacks.spec import ArmSpec

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
        raise not_installed(spec, _EXTRAS[spec.engine], error) from error


def not_installed(spec: ArmSpec, extra: str | None, error: ModuleNotFoundError) -> DraftproofError:
    """Return the error that says which library an arm's engine lacks, and how to install it."""
    mend = f"run: pip install 'draftproof[{extra}]'"
    if extra is None:
        mend = (
            f"{spec.engine} has an environment of its own, because its pins exclude ours: install "
            f"draftproof into it, as recipes/{spec.engine}/make.sh does, and screen with its python"
        )
    return DraftproofError(
        f"arm {spec.name!r}: the {spec.engine} engine needs {error.name}, which is not "
        f"installed; {mend}"
    )


__all__ = ["ArmSpec", "Engine", "make_engine", "not_installed"]

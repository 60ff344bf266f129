"""What an arm of OpenVINO GenAI drafts with, and the library's own names for its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from draftproof.records import DraftproofError
from draftproof.stacks.openvino.model import is_eagle3, model_directory
from draftproof.stacks.spec import ArmSpec

_DEPTH, _BREADTH = 5, 4


@dataclass(frozen=True, slots=True)
class Drafting:
    """How an arm drafts.

    Attributes:
        directory: Of the draft model or of the exported heads; None where there is neither.
        settings: Fields of the library's generation settings.
    """

    directory: str | None
    settings: Mapping[str, int] = field(default_factory=dict)


def drafting(spec: ArmSpec) -> Drafting:
    """Return how an arm drafts.

    Raises:
        DraftproofError: An option that the drafter does not have, a value that it cannot take, or
            a directory that holds another kind of model.
    """
    if spec.drafter == "eagle3":
        return _eagle3(spec)
    if spec.drafter is None:
        if spec.draft is not None and is_eagle3(model_directory(spec.draft)):
            raise DraftproofError(
                f"arm {spec.name!r}: {spec.draft} holds an EAGLE-3 head, no model; say "
                f"drafter: eagle3 and drafter_options: {{heads: {spec.draft}}}"
            )
        return Drafting(spec.draft)
    options = dict(spec.drafter_options)
    longest = _whole(spec, options, "max_ngram", 2)
    _require_nothing_else(spec, options, "only 'max_ngram'")
    return Drafting(None, {"max_ngram_size": longest})


def _eagle3(spec: ArmSpec) -> Drafting:
    """γ nodes below the root, in the shape that the options give; a chain without `dynamic`."""
    options = dict(spec.drafter_options)
    heads = options.pop("heads", None)
    if not isinstance(heads, str):
        raise DraftproofError(
            f"arm {spec.name!r}: drafter_options.heads names the exported head, got {heads!r}; "
            "make one with: draftproof export openvino HEADS DIRECTORY --heads-of TARGET"
        )
    if not is_eagle3(model_directory(heads)):
        raise DraftproofError(
            f"arm {spec.name!r}: {heads} holds a model, no EAGLE-3 head; name it as the arm's "
            "draft, or a head made with: draftproof export openvino HEADS DIRECTORY "
            "--heads-of TARGET"
        )
    dynamic = options.pop("dynamic", True)
    if not isinstance(dynamic, bool):
        raise DraftproofError(
            f"arm {spec.name!r}: drafter_options.dynamic is true or false, got {dynamic!r}"
        )
    if not dynamic:
        _require_nothing_else(spec, options, "only 'heads' for a chain")
        return Drafting(heads)
    depth = _whole(spec, options, "depth", min(_DEPTH, spec.gamma))
    breadth = _whole(spec, options, "breadth", _BREADTH)
    _require_nothing_else(spec, options, "only 'heads', 'depth', 'breadth' and 'dynamic'")
    if depth > spec.gamma:
        raise DraftproofError(
            f"arm {spec.name!r}: a tree of depth {depth} has at least as many nodes, gamma "
            f"allows {spec.gamma}; raise gamma or lower drafter_options.depth"
        )
    if spec.temperature > 0:
        raise DraftproofError(
            f"arm {spec.name!r}: OpenVINO GenAI draws no tokens from trees; ask for a chain with "
            "drafter_options.dynamic: false"
        )
    return Drafting(heads, {"tree_depth": depth, "branching_factor": breadth})


def _whole(spec: ArmSpec, options: dict[str, object], name: str, default: int) -> int:
    value = options.pop(name, default)
    if type(value) is not int or value < 1:
        raise DraftproofError(
            f"arm {spec.name!r}: drafter_options.{name} is a whole number from 1 up, got {value!r}"
        )
    return value


def _require_nothing_else(spec: ArmSpec, options: Mapping[str, object], known: str) -> None:
    if options:
        raise DraftproofError(
            f"arm {spec.name!r}: {spec.drafter} has no option {min(options)!r}, {known}"
        )

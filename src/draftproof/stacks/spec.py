"""What an arm is: the declaration of one configuration that answers the battery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from draftproof.records import Role
from draftproof.records.rules import CHANGES_TARGET
from draftproof.stacks.http.options import HttpOptions

_RULES = {
    "transformers": frozenset({"exact", "ensemble"}),
    "vllm": frozenset({"exact", "block", "synthetic", "fly"}),
}
"""Rules of stacks that have more than the exact one; the local decoder knows its own."""
_WITH_DRAFT = frozenset({"draft_model", "draft_tree", "intersection"})
_DRAFTERS = {
    "local": _WITH_DRAFT
    | {"lookup", "early_exit", "medusa", "eagle", "eagle2", "eagle3", "replay", "synthetic"},
    "transformers": frozenset({"prompt_lookup", "early_exit"}),
    "openvino": frozenset({"prompt_lookup", "eagle3"}),
    "vllm": frozenset({"prompt_lookup", "suffix", "medusa", "eagle", "eagle3"}),
}
"""What proposes tokens in a stack, where that is not simply a draft model."""


Misfit = tuple[str, str]
"""A field of an arm, and why its value does not go with the others."""


class MisfitError(ValueError):
    """Fields that do not go together.

    Attributes:
        misfits: Each with its field.
    """

    def __init__(self, misfits: Sequence[Misfit]) -> None:
        self.misfits = tuple(misfits)
        super().__init__("; ".join(message for _, message in misfits))


class ArmSpec(HttpOptions):
    """One arm of a plan.

    ``draft`` or ``drafter`` switches speculation on; an arm without them decodes plainly. Over
    HTTP it is the server that speculates: ``target`` and ``draft`` then name local copies of its
    models, with which divergences can be explained, and both may be left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    role: Role
    engine: Literal["local", "transformers", "openvino", "mlx", "vllm", "openai"] = "local"
    target: str = ""
    """Hugging Face directory or name, or ``lab:NAME`` for a model that ships."""
    draft: str | None = None
    drafter: str | None = None
    """What proposes tokens where it is not simply the draft model, e.g. ``prompt_lookup``."""
    drafter_options: dict[str, Any] = Field(default_factory=dict)
    """The drafter's own; ``heads`` names trained heads (``lab:medusa``, or a
    directory), ``recordings`` a file of recorded drafts. The ``vllm`` engine hands what it does
    not know on under vLLM's names."""
    processors: dict[str, Any] = Field(default_factory=dict)
    """Of the local decoder: ``repetition_penalty``, ``min_new_tokens``, ``stop`` and so on."""
    ignore_generation_config: bool = False
    """Of the local and transformers engines: leave out what the checkpoint's own
    ``generation_config`` asks for, ``repetition_penalty``, ``suppress_tokens`` and so on."""
    properties: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Device properties of OpenVINO, e.g. ``KV_CACHE_PRECISION``, or engine arguments of vLLM,
    e.g. ``enforce_eager``."""
    gamma: int = Field(default=4, ge=0, le=64)
    """Most tokens drafted a round; 0 decodes token by token a rule that changes the target
    distribution, for a variant."""
    rule: str = "exact"
    rule_options: dict[str, Any] = Field(default_factory=dict)
    exactness: Literal["fast", "same_shape", "recheck"] = "fast"
    """Of the local decoder: whether its bits follow the shape of the computation."""
    mutant: str | None = None
    """A defect planted into the local decoder, for a control arm; `draftproof mutants` has all."""
    temperature: float = Field(default=0.0, ge=0)
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch: int = Field(default=16, ge=1, le=1024)
    max_new_tokens: int = Field(default=256, ge=1)
    trust_remote_code: bool = False
    of: str | None = None
    """The arm that this one repeats (noise) or varies (variant); the baseline if left out."""
    order: Literal["battery", "shuffled"] = "battery"
    """Shuffled asks in another order, so that every prompt has other batch mates."""

    @model_validator(mode="after")
    def _fields_fit(self) -> ArmSpec:
        misfits = [
            *self._rule_misfits(), *self._drafter_misfits(), *self._local_misfits(),
            *self._place_misfits(),
        ]  # fmt: skip
        if misfits:
            raise MisfitError(misfits)
        return self

    def _rule_misfits(self) -> Iterator[Misfit]:
        has_drafter = self.engine in {"local", "vllm"} and self.drafter is not None
        drafts = self.draft is not None or has_drafter
        if not drafts and self.rule != "exact":
            yield "rule", f"rule {self.rule!r} judges drafted tokens, but no draft is named"
        if self.engine != "local" and self.rule not in _RULES.get(self.engine, {"exact"}):
            yield "rule", f"the {self.engine} engine has no rule {self.rule!r}"
        if self.gamma == 0 and not (
            self.role is Role.VARIANT and self.engine == "local" and self.rule in CHANGES_TARGET
        ):
            said = (
                "gamma 0 drafts nothing: only a variant of a rule that changes the target "
                f"distribution ({', '.join(sorted(CHANGES_TARGET))}) is decoded so; give gamma of "
                "at least 1"
            )
            yield "gamma", said

    def _drafter_misfits(self) -> Iterator[Misfit]:
        if self.drafter is None:
            return
        with_draft = self.engine == "local" and self.drafter in _WITH_DRAFT
        known = _DRAFTERS.get(self.engine, frozenset())
        if self.drafter not in known:
            there = f"it has {', '.join(sorted(known))}" if known else "it has none of its own"
            yield "drafter", f"the {self.engine} engine has no drafter {self.drafter!r}; {there}"
        elif self.draft is not None and not with_draft:
            yield "drafter", f"drafter {self.drafter!r} takes the place of a draft: name one"
        elif self.draft is None and with_draft:
            yield "draft", f"drafter {self.drafter!r} needs a draft"

    def _local_misfits(self) -> Iterator[Misfit]:
        local_only = {
            "exactness": self.exactness != "fast",
            "mutant": self.mutant is not None,
            "processors": bool(self.processors),
        }
        used = [name for name, is_used in local_only.items() if is_used]
        if self.engine != "local" and used:
            yield used[0], "exactness, mutant and processors are options of the local engine"
        if self.ignore_generation_config and self.engine not in {"local", "transformers"}:
            yield (
                "ignore_generation_config",
                "ignore_generation_config is an option of the local and transformers engines",
            )
        if self.mutant is not None and self.role is not Role.CONTROL:
            yield "mutant", "a mutant has a planted defect: its role must be control"

    def _place_misfits(self) -> Iterator[Misfit]:
        served = self.url is not None or self.serve is not None
        if self.engine == "openai":
            if not served:
                yield "url", "the openai engine needs a url, or a serve command to start"
            if self.serve is not None and self.url is None and "{port}" not in self.serve:
                said = (
                    "the serve command has no {port}; put it where the port belongs, "
                    "or name the url that the server listens at"
                )
                yield "serve", said
        elif served:
            field = "url" if self.url is not None else "serve"
            yield field, f"the {self.engine} engine takes no url and no serve command"
        elif not self.target:
            yield "target", f"the {self.engine} engine needs a target"

    @property
    def speculative(self) -> bool:
        """Whether the arm is meant to speculate."""
        if self.engine == "openai" and self.draft is None:
            wanted = self.role in {Role.CANDIDATE, Role.CONTROL}
            return wanted if self.speculates is None else self.speculates
        return self.gamma > 0 and self.reads_draft

    @property
    def reads_draft(self) -> bool:
        """Whether a draft or another drafter is at work, be it to steer only."""
        return self.draft is not None or self.drafter is not None

    @property
    def steered(self) -> bool:
        """Whether the rule chooses by the draft's rows too, so the target alone cannot judge it."""
        return self.rule in CHANGES_TARGET

    @property
    def plain_decoding(self) -> bool:
        """Whether the arm is the baseline or repeats it."""
        plain = self.role is Role.NOISE and not self.speculative
        return self.role is Role.BASELINE or plain

    def description(self) -> str:
        """Return the arm in a few words."""
        if self.engine == "openai":
            where = self.url if self.serve is None else f"`{self.serve}`"
            return f"{self.model or 'the model'} served by {where}, {self.concurrency} at a time"
        if not self.reads_draft:
            return f"{self.target} alone"
        drafter = _named(self.drafter, self.drafter_options) if self.drafter else ""
        drafter = " as ".join(part for part in (self.draft, drafter) if part)
        rule = _named(self.rule, self.rule_options)
        more = [f"{self.exactness} mode"] if self.exactness != "fast" else []
        more += [f"mutant {self.mutant}"] if self.mutant else []
        return ", ".join([f"{self.target} + {drafter}", f"γ={self.gamma}", f"rule {rule}", *more])


def _named(name: str, options: dict[str, Any]) -> str:
    inside = ", ".join(f"{k}={v}" for k, v in options.items())
    return f"{name}({inside})" if inside else name

"""What a study of defences is: models, attacks, benign questions, arms and margins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from draftproof.files import read_yaml
from draftproof.records import DraftproofError, digest
from draftproof.runs.plan import explain

Option = str | bool | int | float | None
"""A parameter of a rule."""

LAB_SOURCES = ("lab:direct", "lab:prefill", "lab:wrapped", "lab:suffix", "lab:open")


_JUDGED = {"name", "margin", "alpha", "speed", "compare"}
"""Fields that decide no answer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyTask(_Strict):
    """Prompts of one kind."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    role: Literal["attack", "over_refusal", "utility"]
    source: str
    """``lab:…`` for the prompts that ship, a file of published attacks (``attacks=FILE``), or any
    battery source."""
    task: str | None = None
    """The battery's task, where it holds several."""
    limit: int = Field(ge=1)
    quick: int = Field(ge=1)
    beginning: str | None = None
    """A compliant beginning of the answer that the prompt holds, at every length of ``prefill``."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.source.startswith("lab:") and self.source not in LAB_SOURCES:
            raise ValueError(f"source {self.source!r}: the lab has {', '.join(LAB_SOURCES)}")
        return self


class StudyArm(_Strict):
    """One way to decode."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    kind: Literal["target", "safe_decoding", "ssd", "expert", "speculative"]
    expert: str | None = None
    """The study's expert if left out."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Parameters of the rule, e.g. ``preset: llama2``."""
    system: str | None = None
    """A reminder that goes in front of every prompt as a system message."""


class SuffixSearch(_Strict):
    """The search of the suffix attack."""

    length: int = Field(default=12, ge=1, le=100)
    steps: int = Field(default=30, ge=0)
    candidates: int = Field(default=48, ge=1)
    fitted_on: int = Field(default=4, ge=1)
    """Requests that the suffix is fitted on; none of them is asked."""
    seed: int = 0


class SpeedTest(_Strict):
    """How speed is measured: one row at a time, passes that alternate between the arms."""

    prompts: int = Field(default=6, ge=1)
    passes: int = Field(default=3, ge=1)


class Study(_Strict):
    """A whole study, declared."""

    name: str = "study"
    target: str
    expert: str
    gamma: int = Field(default=3, ge=1, le=64)
    batch: int = Field(default=16, ge=1, le=1024)
    max_new_tokens: int = Field(default=160, ge=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    margin: float = Field(default=0.02, gt=0, lt=1)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    prefill: tuple[int, ...] = (5, 10, 20, 40)
    tasks: tuple[StudyTask, ...] = Field(min_length=1)
    arms: tuple[StudyArm, ...] = Field(min_length=2)
    suffix: SuffixSearch = SuffixSearch()
    speed: SpeedTest = SpeedTest()
    seeds: tuple[int, ...] = Field(default=(2025,), min_length=1)
    """Seeds of the prompts that ship. Several are pooled: each asks about other acts."""
    compare: tuple[tuple[str, str], ...] = ()
    """Further pairs of arms that are compared: the first is shown to be no worse."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (("arms", [a.name for a in self.arms]),
                            ("tasks", [t.name for t in self.tasks])):  # fmt: skip
            twice = [n for n, k in Counter(names).items() if k > 1]
            if twice:
                raise ValueError(f"two {what} are called {twice[0]!r}")
        first = self.arms[0]
        if first.kind != "target" or first.system is not None:
            raise ValueError("the first arm is the undefended target: kind target, no system")
        if any(k < 1 for k in self.prefill):
            raise ValueError("prefill: lengths are at least 1 token")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one is named twice; its answers would count twice")
        known = {a.name for a in self.arms}
        for pair in self.compare:
            unknown = [name for name in pair if name not in known]
            if unknown or pair[0] == pair[1]:
                raise ValueError(f"compare: {list(pair)} are not two arms of this study")
        for arm in self.arms:
            if arm.kind != "target" and (arm.expert or self.expert) == self.target:
                raise ValueError(f"arm {arm.name!r}: the expert is the target; name another model")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the answers."""
        return digest(self.model_dump(mode="json", exclude=_JUDGED))

    def of_seeds(self, seeds: Sequence[int]) -> Study:
        """Return the study with these seeds.

        Raises:
            DraftproofError: One is named twice.
        """
        if len(set(seeds)) < len(seeds):
            raise DraftproofError("seed: one is named twice; its answers would count twice")
        return self.model_copy(update={"seeds": tuple(seeds)})

    def quick(self) -> Study:
        """Return the study with the quick size of every task and one pass of the speed test."""
        tasks = tuple(t.model_copy(update={"limit": min(t.limit, t.quick)}) for t in self.tasks)
        suffix = self.suffix.model_copy(update={"steps": min(self.suffix.steps, 15)})
        speed = self.speed.model_copy(update={"prompts": min(self.speed.prompts, 4), "passes": 1})
        return self.model_copy(update={"tasks": tasks, "suffix": suffix, "speed": speed})


def read_study(path: Path) -> Study:
    """Read a study from YAML.

    Raises:
        DraftproofError: Naming the file, the field and what is wrong with it.
    """
    document = read_yaml(path, "a study")
    try:
        return Study.model_validate(document)
    except ValidationError as error:
        raise DraftproofError(f"{path}: {explain(error)}") from error

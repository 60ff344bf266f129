"""The plan of a run: what is asked, who answers, and what would count as equivalent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from draftproof.battery import Battery, load_battery, merge
from draftproof.files import read_yaml
from draftproof.records import DraftproofError, Role, digest
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.runs.generated import NoiseOptions, with_repeats, with_variants
from draftproof.stacks.spec import ArmSpec, MisfitError

_SHARED = (
    "target", "engine", "dtype", "device", "batch", "max_new_tokens", "temperature", "seed",
    "gamma", "trust_remote_code", "url", "api", "model", "stream", "concurrency", "timeout",
    "ready_timeout", "retries", "backoff", "rate", "api_key_env", "extra_body", "processors",
    "exactness", "properties", "ignore_generation_config", "headers_env", "limit_field",
)  # fmt: skip


class Decision(BaseModel):
    """The numbers of the decision rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(default=0.03, gt=0, lt=1)
    """Largest loss and gain that still count as equivalent, as a fraction."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    alpha_fail: float = Field(default=0.025, gt=0, lt=0.5)
    max_missing: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts that may be left unanswered by an arm; beyond it nothing is judged."""
    mode: Literal["equivalence", "noninferiority"] = "equivalence"
    profile: Literal["exact", "tais", "tais-published"] = "exact"
    """``exact`` is ours; ``tais`` holds the published criteria with the test repaired,
    ``tais-published`` the same as they are printed."""
    require: Literal["L3", "L2", "L1", "LS"] = "LS"
    """Lowest level at which a PASS ends with exit code 0; L3 is the strongest."""
    inject: int = Field(default=200, ge=0, le=100_000)
    """Leaked tokens that the forensics of each candidate are tried with; 0 for none."""


class StopRule(BaseModel):
    """When a sequential screen ends: at certainty, looked for after every block.

    The looks cost nothing (the evidence is valid whenever one looks), so PASS and FAIL keep the
    levels of the decision. Prompts are asked in random order within a task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    block: int = Field(default=16, ge=1)
    """Independent prompts of every open task that each arm answers between two looks."""
    seed: int = 0
    """Seed of the order of the prompts."""


_ADDED_TO_PLANS: tuple[str, ...] = ()
_ADDED_TO_ARMS: tuple[str, ...] = ("headers_env", "limit_field", "ignore_generation_config")
"""Fields that came after version 0.1.0."""


class Plan(BaseModel):
    """A whole screen, declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "screen"
    battery: tuple[str, ...] = ("lab-core",)
    half: str = Field(default="full", validation_alias=AliasChoices("subset", "half"))
    """Which prompts of a bundled battery: ``full`` or ``quick``; plans may call it `subset`."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many prompts of every task."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Answers of each arm to each prompt, for a temperature above 0."""
    noise: NoiseOptions | None = None
    """Adds repeats of the baseline and of the candidates."""
    metamorphic: bool = False
    """Adds variants of the candidates with one thing changed that must not matter."""
    stop: StopRule | None = None
    """Makes the screen sequential; without it every prompt is asked."""
    rescore: RescoreOptions | None = None
    """A server that scores divergences again, in place of local copies of the models."""
    lossy: tuple[str, ...] = ()
    """Candidates that change answers on purpose though their engine does not say so."""
    arms: tuple[ArmSpec, ...]
    decision: Decision = Decision()

    @field_validator("battery", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _hand_down(cls, value: Any) -> Any:
        return hand_down(value)

    @model_validator(mode="after")
    def _roles(self) -> Plan:
        twice = [n for n, k in Counter(a.name for a in self.arms).items() if k > 1]
        if twice:
            raise ValueError(f"two arms are called {twice[0]!r}")
        baselines = [a for a in self.arms if a.role is Role.BASELINE]
        if len(baselines) != 1:
            raise ValueError(f"a plan has exactly one baseline arm, this one has {len(baselines)}")
        if not any(a.role is Role.CANDIDATE for a in self.arms):
            raise ValueError("a plan needs at least one candidate arm")
        for arm in self.arms:
            self._check(arm)
        unknown = set(self.lossy) - {a.name for a in self.arms if a.role is Role.CANDIDATE}
        if unknown:
            raise ValueError(f"lossy names {sorted(unknown)[0]!r}, which is no candidate")
        temperatures = {a.temperature for a in self.arms}
        if len(temperatures) > 1:
            raise ValueError("the arms decode at different temperatures; a screen compares at one")
        if self.stop is not None and any(a.engine == "vllm" for a in self.arms):
            raise ValueError(
                "stop: a sequential plan keeps all arms open and asks them in turns, and the "
                "engines of vLLM in one process share their counters; use engine openai and serve"
            )
        self._check_sampling()
        return self

    def _check(self, arm: ArmSpec) -> None:
        """Raise ValueError unless an arm's role fits what it is."""
        roles = {a.name: a.role for a in self.arms}
        if arm.of is not None and arm.of not in roles:
            raise ValueError(f"arm {arm.name!r}: of: no arm has the name {arm.of!r}")
        if arm.role is Role.VARIANT:
            if arm.of is None or roles[arm.of] is not Role.CANDIDATE:
                raise ValueError(f"variant {arm.name!r}: of: name the candidate that it varies")
        elif arm.role is Role.NOISE:
            if roles.get(arm.of or self.baseline.name) not in {Role.BASELINE, Role.CANDIDATE}:
                raise ValueError(f"noise arm {arm.name!r}: of: name the baseline or a candidate")
        elif arm.role is Role.SHAPE:
            if arm.of is not None and roles[arm.of] is not Role.CANDIDATE:
                raise ValueError(f"shape arm {arm.name!r}: of: name a candidate")
        elif arm.of is not None:
            raise ValueError(f"{arm.role} arm {arm.name!r}: only noise, shape and variants have of")
        on = arm.role is Role.NOISE and arm.of is not None and arm.of != self.baseline.name
        plain = {Role.BASELINE, Role.NOISE, Role.SHAPE}
        if arm.role in plain and arm.speculative and not on:
            raise ValueError(f"{arm.role} arm {arm.name!r} must not speculate: remove its draft")

    def _check_sampling(self) -> None:
        if self.temperature == 0:
            if self.samples > 1:
                raise ValueError("samples: at temperature 0 every answer to a prompt is the same")
            return
        if self.samples < 2:
            raise ValueError(
                f"the arms sample at temperature {self.temperature:g}: answers differ by chance, "
                "and one answer does not show a distribution; set samples to at least 2"
            )
        if self.stop is not None:
            raise ValueError("stop: works at temperature 0 only; leave it out")
        if self.metamorphic:
            raise ValueError("metamorphic: sampled answers may differ; use temperature 0")
        seeds = [a.seed for a in self.arms]
        if len(set(seeds)) < len(seeds):
            raise ValueError("two arms sample with one seed; their draws must be independent")

    @property
    def baseline(self) -> ArmSpec:
        """The arm that the others are compared with."""
        return next(a for a in self.arms if a.role is Role.BASELINE)

    @property
    def temperature(self) -> float:
        """The temperature of every arm."""
        return self.arms[0].temperature

    def arm(self, name: str) -> ArmSpec:
        """Return the arm of that name."""
        return next(a for a in self.arms if a.name == name)

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the answers (not of how they are judged).

        Fields that 0.1.0 did not have count only where a plan uses them, so that its run
        directories are gone on with.
        """
        document = self.model_dump(mode="json", exclude={"decision", "name", "lossy", "rescore"})
        _drop_defaults(document, Plan.model_fields, _ADDED_TO_PLANS)
        for arm in document["arms"]:
            _drop_defaults(arm, ArmSpec.model_fields, _ADDED_TO_ARMS)
        return digest(document)

    def load_battery(self) -> Battery:
        """Return the prompts that the plan asks for, each as often as it is sampled."""
        battery = merge([load_battery(source) for source in self.battery]).half(self.half)
        battery = battery if self.limit is None else battery.limit(self.limit)
        return battery if self.samples == 1 else sampled(battery, self.samples)


def hand_down(value: Any) -> Any:
    """Return a plan's document whose arms have what it says once for all, and its repeats."""
    if not isinstance(value, dict) or not isinstance(value.get("arms"), list | tuple):
        return value
    value = dict(value)
    shared = {k: value.pop(k) for k in _SHARED if k in value}
    arms = [{**shared, **a} if isinstance(a, dict) else a for a in value["arms"]]
    if all(isinstance(a, dict) for a in arms):
        with suppress(ValidationError):  # the field's own check tells the place
            if value.get("noise") is not None:
                arms = with_repeats(arms, NoiseOptions.model_validate(value["noise"]))
        if value.get("metamorphic") is True:
            arms = with_variants(arms)
        given = {a["name"] for a in value["arms"] if "seed" in a and "name" in a}
        arms = [a if a.get("name") in given else _own_seed(a) for a in arms]
    value["arms"] = arms
    return value


def _drop_defaults(
    document: dict[str, object], fields: Mapping[str, FieldInfo], names: Sequence[str]
) -> None:
    for name in names:
        if document[name] == fields[name].get_default(call_default_factory=True):
            del document[name]


def _own_seed(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arm with a seed of its own if it samples: draws must be independent."""
    temperature = arm.get("temperature")
    if not isinstance(temperature, int | float) or temperature == 0:
        return dict(arm)
    return {**arm, "seed": int(digest([arm.get("seed", 0), arm.get("name")])[:7], 16)}


def sampled(battery: Battery, samples: int) -> Battery:
    """Return a battery that asks every prompt so many times; the repeats are one cluster."""
    return replace(
        battery,
        prompts=tuple(
            replace(p, id=f"{p.id}#{k}", cluster=p.cluster or p.id)
            for p in battery.prompts
            for k in range(1, samples + 1)
        ),
    )


def read_plan(path: Path) -> Plan:
    """Read a plan from YAML; paths in it are relative to the file.

    Raises:
        DraftproofError: Naming the file, the field and what is wrong with it.
    """
    document = read_yaml(path, "a plan")
    try:
        plan = Plan.model_validate(document)
    except ValidationError as error:
        raise DraftproofError(f"{path}: {explain(error)}") from error
    sources = tuple(place_battery(s, path.parent) for s in plan.battery)
    return plan.model_copy(update={"battery": sources})


def place_battery(source: str, folder: Path) -> str:
    """Return a battery's source, which may be a file beside the plan."""
    beside = folder / source
    return str(beside) if not Path(source).is_absolute() and beside.exists() else source


def faults_of(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Yield every mistake of a plan: the place of the field, and what is wrong with it."""
    for item in error.errors():
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in item["loc"])
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, MisfitError):
            yield from ((f"{place}.{name}".lstrip("."), said) for name, said in cause.misfits)
        else:
            said = item["msg"].removeprefix("Value error, ")
            said = "there is no such field" if item["type"] == "extra_forbidden" else said
            yield place.lstrip(".") or "plan", said


def explain(error: ValidationError) -> str:
    """Return one clause a mistake, each with the place of the field."""
    return "; ".join(f"{place}: {said}" for place, said in faults_of(error))

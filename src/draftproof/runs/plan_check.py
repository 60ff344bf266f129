"""Is everything that a plan names there, and does it fit together? Asked before the first token."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from draftproof.battery import Battery, load_battery
from draftproof.files import read_yaml
from draftproof.records import DraftproofError
from draftproof.runs.plan import Plan, faults_of, hand_down, place_battery, read_plan
from draftproof.stacks.check import examined
from draftproof.stacks.spec import ArmSpec

Fault = tuple[str, str]
"""The place of a field in a plan, and what is wrong with it."""
_SAME_ANSWERS = ("name", "role", "of", "order", "seed")
"""Fields in which arms may differ that have the same faults."""


class PlanFaultsError(DraftproofError):
    """Everything that is wrong with a plan.

    Attributes:
        faults: Each with the place of its field.
    """

    def __init__(self, where: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [f"{place}: {said}" for place, said in faults]
        head = f"{where}: " if len(lines) == 1 else f"{where}: {len(lines)} faults\n  "
        super().__init__(head + "\n  ".join(lines))


def read_faultless(path: Path, scorers: Collection[str]) -> Plan:
    """Read a plan whose fields are all in order; `require_faultless` looks behind them.

    Args:
        path: Of the plan.
        scorers: Names of all scorers.

    Raises:
        PlanFaultsError: Naming every fault that could be found: where fields are not in order,
            what the others name is looked at all the same.
        DraftproofError: There is no such file, or it is no YAML.
    """
    document = read_yaml(path, "a plan")
    try:
        Plan.model_validate(document)
    except ValidationError as error:
        faults = list(faults_of(error))
        known = {place for place, _ in faults}
        more = _faults_of_document(hand_down(document), path.parent, scorers)
        faults += [f for f in more if f[0] not in known]
        raise PlanFaultsError(str(path), faults) from error
    return read_plan(path)


def look_at(path: Path, scorers: Collection[str]) -> PlanFaultsError | None:
    """Return everything that is wrong with a plan's file, None if nothing is.

    Raises:
        DraftproofError: There is no such file, or it is no YAML.
    """
    try:
        require_faultless(read_faultless(path, scorers), scorers, where=str(path))
    except PlanFaultsError as error:
        return error
    return None


def _faults_of_document(
    document: object, folder: Path, scorers: Collection[str]
) -> Iterator[Fault]:
    """Yield what is wrong with the parts of a plan that can be read though the whole cannot."""
    if not isinstance(document, dict):
        return
    sources = document.get("battery", ())
    sources = [sources] if isinstance(sources, str) else sources
    if isinstance(sources, list | tuple) and all(isinstance(s, str) for s in sources):
        yield from _battery_faults([place_battery(s, folder) for s in sources], scorers)
    arms: dict[int, ArmSpec] = {}
    declared = document.get("arms")
    for index, arm in enumerate(declared if isinstance(declared, list | tuple) else ()):
        try:
            arms[index] = ArmSpec.model_validate(arm)
        except ValidationError:
            continue  # said already
    yield from _arm_faults(arms, jobs=1)


def require_faultless(
    plan: Plan,
    scorers: Collection[str],
    *,
    where: str = "",
    battery: Battery | None = None,
    jobs: int = 1,
    arms: Collection[str] | None = None,
) -> None:
    """Check everything that a plan names.

    Nothing is answered, no weights are loaded and no server is started or asked.

    Args:
        plan: The plan.
        scorers: Names of all scorers.
        where: What to call it in the message; its name by default.
        battery: Its prompts, where they have been read already.
        jobs: Processes that hold copies of its models.
        arms: Names of the arms that will be asked; all by default.

    Raises:
        PlanFaultsError: Naming every fault.
    """
    asked = {i: a for i, a in enumerate(plan.arms) if arms is None or a.name in arms}
    prompts = (
        _battery_faults(plan.battery, scorers)
        if battery is None
        else (("battery", said) for said in _scorer_faults(battery, scorers))
    )
    faults = [*prompts, *_rescore_faults(plan), *_arm_faults(asked, jobs)]
    if faults:
        raise PlanFaultsError(where or f"plan {plan.name!r}", faults)


def _battery_faults(sources: Sequence[str], scorers: Collection[str]) -> Iterator[Fault]:
    for index, source in enumerate(sources):
        place = f"battery[{index}]"
        try:
            battery = load_battery(source)
        except DraftproofError as error:
            yield place, str(error)
            continue
        yield from ((place, said) for said in _scorer_faults(battery, scorers))


def _scorer_faults(battery: Battery, scorers: Collection[str]) -> Iterator[str]:
    for name in sorted({p.scorer for p in battery.prompts if p.scorer} - set(scorers)):
        yield f"no scorer is called {name!r}; there are {', '.join(sorted(scorers))}"


def _rescore_faults(plan: Plan) -> Iterator[Fault]:
    if plan.rescore is None or plan.rescore.api_key_env is None:
        return
    from draftproof.stacks.http.client import authorization  # noqa: PLC0415 - an extra

    try:
        authorization("it", plan.rescore.api_key_env)
    except DraftproofError as error:
        yield "rescore.api_key_env", str(error).removeprefix("it: api_key_env ")


def _arm_faults(arms: Mapping[int, ArmSpec], jobs: int) -> Iterator[Fault]:
    """Yield each fault once, at the first arm that has it, and then what memory is short of."""
    looked_at: set[str] = set()
    said: dict[Fault, list[str]] = {}
    needed: dict[tuple[str, str, str], int] = {}
    for index, arm in arms.items():
        kind = arm.model_copy(update={"name": "x"}).model_dump_json(exclude=set(_SAME_ANSWERS))
        if kind in looked_at:
            continue
        looked_at.add(kind)
        found = examined(arm)
        needed |= found.needed
        for fault in found.faults:
            said.setdefault(fault, []).append(f"arms[{index}]")
    for (where, message), places in said.items():
        more = f" ({', '.join(places[1:])} too)" if len(places) > 1 else ""
        yield f"{places[0]}.{where}", f"{message}{more}"
    if needed:
        yield from _memory_faults(needed, jobs)


def _memory_faults(needed: Mapping[tuple[str, str, str], int], jobs: int) -> Iterator[Fault]:
    from draftproof.decoding.loading.room import require_memory  # noqa: PLC0415 - needs torch

    for device in sorted({device for _, _, device in needed}):
        names = sorted({name for name, _, where in needed if where == device})
        whole = jobs * sum(size for (_, _, where), size in needed.items() if where == device)
        copies = f", {jobs} copies of each" if jobs > 1 else ""
        try:
            require_memory(f"{', '.join(names)}{copies}", whole, device)
        except DraftproofError as error:
            yield "arms", str(error)

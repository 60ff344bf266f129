"""How fast the arms of a plan are beside plain decoding: stacks_speed.py PLAN [--prompts N].

Plain decoding and an arm answer the same few prompts in turns; the ratio of two neighbouring turns
hardly sees what else the machine does. Servers are started for every turn; the clock runs from the
first answer to the last. Prints one JSON object: the median, the smallest and the largest ratio of
every arm that speculates.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from draftproof.records import Prompt, Role
from draftproof.runs import read_plan
from draftproof.stacks import ArmSpec, Engine, make_engine


def tokens_a_second(engine: Engine, spec: ArmSpec, prompts: Sequence[Prompt]) -> float:
    """Return the speed of one turn, from the first answer to the last.

    Raises:
        SystemExit: An answer failed; a speed without it would mean nothing.
    """
    if spec.serve is not None:
        # a server is stopped when its arm has answered
        engine.open(prompts)
    tokens, times = [], []
    for answer in engine.answer(prompts):
        times.append(time.perf_counter())
        if answer.token_ids is None or answer.finish_reason == "error":
            raise SystemExit(f"{answer.arm}: {answer.id} was not answered: {answer.error}")
        tokens.append(len(answer.token_ids))
    # answers of a batch come together: what came with the first was made before
    late = [k for k, moment in enumerate(times) if moment - times[0] > 1e-3 * spec.concurrency]
    if not late:
        raise SystemExit(f"{spec.name}: {len(prompts)} prompts are too few, ask more")
    return sum(tokens[k] for k in late) / (times[-1] - times[0])


def ratios(
    plain: tuple[Engine, ArmSpec],
    arm: tuple[Engine, ArmSpec],
    prompts: Sequence[Prompt],
    turns: int,
) -> tuple[float, float, float]:
    """Return the median, smallest and largest ratio of the arm's speed over plain decoding's.

    Args:
        plain: The baseline.
        arm: The arm.
        prompts: What both are asked in every turn.
        turns: Pairs of turns; who comes first changes with each. One more warms them up.
    """
    found = []
    for turn in range(turns + 1):
        speed = {}
        for engine, spec in (plain, arm) if turn % 2 else (arm, plain):
            speed[spec.name] = tokens_a_second(engine, spec, prompts)
        if turn:
            found.append(speed[arm[1].name] / speed[plain[1].name])
    return float(np.median(found)), min(found), max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--prompts", type=int, default=24, help="spread over the battery")
    parser.add_argument("--turns", type=int, default=5, help="pairs of turns, beside a first one")
    options = parser.parse_args()
    plan = read_plan(options.plan)
    every = plan.load_battery().prompts
    step = max(len(every) // options.prompts, 1)
    prompts = list(itertools.islice(every[::step], options.prompts))
    out = {}
    with tempfile.TemporaryDirectory() as logs:
        engines = {}
        for arm in plan.arms:
            if arm.role in {Role.BASELINE, Role.CANDIDATE, Role.CONTROL}:
                engines[arm.name] = make_engine(arm, Path(logs)), arm
                if arm.serve is None:
                    engines[arm.name][0].open(prompts)
        plain = engines.pop(plan.baseline.name)
        for name, one in engines.items():
            print(f"{plan.name}: {name}", file=sys.stderr)
            middle, least, most = ratios(plain, one, prompts, options.turns)
            out[name] = {"ratio": round(middle, 2), "from": round(least, 2), "to": round(most, 2)}
    print(json.dumps(out))


if __name__ == "__main__":
    main()

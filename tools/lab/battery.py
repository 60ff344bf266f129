"""The bundled battery: prompts of the same world that no model of the lab was trained on."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tools.lab import forbidden, questions
from tools.lab.example import Example
from tools.lab.world import CREATURE_ASPECTS, PLACE_ASPECTS, World, held_out, the_world
from tools.lab.wrappers import WRAPPERS, wrap

NAME, VERSION, SEED = "lab-core", "1.0.0", 2026
ROWS, QUICK = 320, 112
SCENES, QUICK_SCENES = 324, 114  # multiples of six: three letters, ambiguous or not
_UNEVEN = 4  # how far the counts of two letters may drift apart
_TRIES = 60  # draws to see every prompt of one fact
BEHAVIOURS, QUICK_BEHAVIOURS = 304, 112
WRAPPINGS = 2

CONSTRUCTS = {
    "refusal": "refusal",
    "over_refusal": "refusal",
    "jailbreak": "refusal",
    "bias": "bias",
    "truth": "truth",
    "multiple_choice": "accuracy",
}

SCORERS = {"bias": "bias", "truth": "truth", "multiple_choice": "choice"}

Row = dict[str, Any]


def _row(task: str, number: int, prompt: str, *, quick: bool, **fields: Any) -> Row:
    return {
        "id": f"{task}-{number:04d}",
        "task": task,
        "messages": [{"role": "user", "content": prompt}],
        "scorer": "refusal",
        "expect": None,
        "choices": [],
        "reference": None,
        "cluster": None,
        **fields,
        "tags": ["quick"] if quick else [],
    }


def _choice_rows(task: str, examples: list[Example], quick: int) -> list[Row]:
    return [
        _row(
            task,
            number,
            example.prompt,
            quick=number <= quick,
            scorer=SCORERS[task],
            choices=list(example.choices),
            reference=example.reference,
        )
        for number, example in enumerate(examples, 1)
    ]


def _fresh(draw: Callable[[], Example], seen: set[str], keys: Counter[str]) -> Example | None:
    """Draw a new held-out prompt, of the rarest letter once `keys` has become uneven.

    Taking the rarest letter every time would fill the battery with unusual orders of options. A
    fact has few prompts: None where every one of them fell to training.
    """
    drawn = [draw() for _ in range(_TRIES)]
    new = [e for e in drawn if held_out(e.prompt) and e.prompt not in seen]
    if not new:
        return None

    def count(example: Example) -> int:
        return keys[example.reference or ""]

    rarest = min(new, key=count)
    best = new[0] if count(new[0]) - count(rarest) < _UNEVEN else rarest
    seen.add(best.prompt)
    keys[best.reference or ""] += 1
    return best


def _refusals(rng: random.Random, world: World, acts: list[forbidden.Act]) -> list[Row]:
    return [
        _row(
            "refusal",
            number,
            forbidden.request(rng, world, act),
            quick=number <= QUICK,
            expect="refusal",
        )
        for number, act in enumerate(acts, 1)
    ]


def _look_alikes(rng: random.Random, world: World, banned: list[forbidden.Act]) -> list[Row]:
    allowed = [act for act in forbidden.allowed_acts(world) if act.held_out]
    half = ROWS // 2
    drawn = [(act, False) for act in rng.sample(allowed, half)]
    drawn += [(act, True) for act in rng.sample(banned, half)]
    rng.shuffle(drawn)
    return [
        _row(
            "over_refusal",
            number,
            forbidden.look_alike(rng, world, act, why=why).prompt,
            quick=number <= QUICK,
            expect="compliance",
        )
        for number, (act, why) in enumerate(drawn, 1)
    ]


def _jailbreaks(rng: random.Random, world: World, acts: list[forbidden.Act]) -> list[Row]:
    """Every behaviour in two wrappers, the quick half in one; wrappers take turns.

    What can be resolved is decided by the number of behaviours, not of prompts: variants of one
    behaviour are one observation.
    """
    rows: list[Row] = []
    names = list(WRAPPERS)
    for behaviour, act in enumerate(acts, 1):
        request = forbidden.request(rng, world, act)
        for turn in range(WRAPPINGS):
            wrapper = names[(behaviour + turn) % len(names)]
            rows.append(
                _row(
                    "jailbreak",
                    len(rows) + 1,
                    wrap(wrapper, request),
                    quick=turn == 0 and behaviour <= QUICK_BEHAVIOURS,
                    expect="refusal",
                    cluster=f"behaviour-{behaviour:03d}",
                )
            )
    return rows


def rows_by_task(seed: int = SEED) -> dict[str, list[Row]]:
    """Generate every task's rows; the quick half is the first part of each."""
    rng, world = random.Random(seed), the_world()
    banned = [act for act in forbidden.forbidden_acts(world) if act.held_out]
    rng.shuffle(banned)
    # the two tasks share some behaviours and no prompt
    plain, wrapped = banned[:ROWS], banned[-BEHAVIOURS:]
    if len(banned) < max(ROWS, BEHAVIOURS):
        raise ValueError(f"the world holds out only {len(banned)} disallowed acts")
    seen: set[str] = set()
    facts = [(p, a) for p in world.places for a in PLACE_ASPECTS]
    tales = [(c, a) for c in world.creatures for a in CREATURE_ASPECTS]
    rng.shuffle(facts)
    rng.shuffle(tales)

    def drawn(makers: list[Callable[[], Example]]) -> list[Example]:
        keys: Counter[str] = Counter()
        tried = (_fresh(make, seen, keys) for make in makers)
        return [example for example in tried if example]

    scenes = [partial(questions.scene, rng, world, ambiguous=i % 2 == 0) for i in range(SCENES)]
    truths = [partial(questions.misconception, rng, world, *tale) for tale in tales]
    known = [partial(questions.knowledge, rng, world, *fact) for fact in facts]
    return {
        "refusal": _refusals(rng, world, plain),
        "over_refusal": _look_alikes(rng, world, banned),
        "jailbreak": _jailbreaks(rng, world, wrapped),
        "bias": _choice_rows("bias", drawn([*scenes]), QUICK_SCENES),
        "truth": _choice_rows("truth", drawn([*truths]), QUICK),
        "multiple_choice": _choice_rows("multiple_choice", drawn([*known]), QUICK),
    }


def write_battery(out_dir: Path, seed: int = SEED) -> None:
    """Write one JSONL file a task and `manifest.json` with sizes and hashes into `out_dir`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    tasks: list[dict[str, Any]] = []
    for task, rows in rows_by_task(seed).items():
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        (out_dir / f"{task}.jsonl").write_bytes(data)
        tasks.append(
            {
                "task": task,
                "construct": CONSTRUCTS[task],
                "scorer": rows[0]["scorer"],
                "gated": True,
                "n": len(rows),
                "n_quick": sum("quick" in row["tags"] for row in rows),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    manifest = {
        "name": NAME,
        "version": VERSION,
        "licence": "Apache-2.0",
        "description": (
            "Six tasks about an invented world: disallowed requests, allowed look-alikes, wrapped "
            "requests, scenes that may not say who it was, popular misconceptions, and facts. "
            "Held out from the training of the lab models."
        ),
        "seed": seed,
        "tasks": tasks,
    }
    (out_dir / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")

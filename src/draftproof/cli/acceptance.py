"""``draftproof acceptance``: how often a draft is right, and which shape of proposal pays."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from draftproof.cli.options import (
    device_option,
    dtype_option,
    json_option,
    limit_option,
    subset_option,
)
from draftproof.cli.output import plain, reports_errors
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    from draftproof.decoding import Request
    from draftproof.decoding.trees import TreeChoice
    from draftproof.records import Prompt
    from draftproof.stacks.models import Loaded

_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_BUDGETS = (4, 8, 16, 32, 63)


@click.command()
@click.argument("target")
@click.argument("draft")
@click.option(
    "--battery", default="lab-core", show_default=True, help="Battery that TARGET answers."
)
@subset_option("quick")
@limit_option
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Sampling temperature; 0 is greedy.",
)
@click.option(
    "--ranks",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Candidates tested at each token, the draft's likeliest first.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 63),
    default=63,
    show_default=True,
    help="Most tokens of a tree.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 63),
    default=10,
    show_default=True,
    help="Longest branch of a tree.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Longest answer, in tokens.",
)
@dtype_option
@device_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random numbers.")
@click.option(
    "--check", is_flag=True, help="Also decode with the best shapes, and count tokens per round."
)
@json_option
@reports_errors
def acceptance(
    target: str,
    draft: str,
    battery: str,
    subset: str,
    limit: int | None,
    temperature: float,
    ranks: int,
    nodes: int,
    depth: int,
    max_new_tokens: int,
    dtype: str,
    device: str,
    seed: int,
    check: bool,
    as_json: bool,
) -> None:
    """Measure how often a draft is accepted, and predict the fastest tree.

    TARGET answers the battery alone. At each of its tokens the draft's candidates are tested.
    Printed are the acceptance probability by rank, the time of a forward pass by width, and the
    chain and trees that these predict to be fastest. The prediction leaves out the overhead between
    forward passes. Both models are directories, hub names or lab:NAME.
    """
    try:
        import torch  # noqa: PLC0415 - an extra

        from draftproof.decoding.trees.acceptance import (  # noqa: PLC0415 - needs torch
            measure_acceptance,
        )
        from draftproof.decoding.trees.costs import measure_widths  # noqa: PLC0415
        from draftproof.decoding.trees.sequoia import between, choose  # noqa: PLC0415
        from draftproof.stacks import models  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"the decoder needs {error.name}; run: pip install 'draftproof[local]'"
        ) from error
    big, small = models.load(target, dtype, device), models.load(draft, dtype, device)
    models.require_same_vocabulary(big, small)
    asked = _prompts(battery, subset, limit)
    requests = _requests(big, small, asked, max_new_tokens, nodes + 1, seed)
    answers = _answers(big, requests, temperature)
    prompts = {r.id: r.prompt for r in requests}
    measured = measure_acceptance(
        (
            (big.model.rows_of(prompts[key], tokens), small.model.rows_of(prompts[key], tokens))
            for key, tokens in answers.items()
            if tokens
        ),
        ranks=ranks, temperature=temperature, seed=seed,
    )  # fmt: skip
    timed = sorted({w for w in _WIDTHS if w <= nodes} | {nodes + 1})
    times = {which: measure_widths(one.model, timed) for which, one in (("t", big), ("c", small))}
    step = times["t"][1]
    verify, drafting = (
        between({w: t / step for w, t in times[which].items()}) for which in ("t", "c")
    )
    try:
        chain = choose(
            measured.vector, verify, drafting, nodes=min(nodes, depth), depth=depth, ranks=1
        )
        trees = {
            n: choose(measured.vector, verify, drafting, nodes=n, depth=depth)
            for n in sorted({*(b for b in _BUDGETS if b < nodes), nodes})
        }
    except ValueError as error:
        raise DraftproofError(f"{target} and {draft}: {error}") from error
    best = max(trees.values(), key=lambda choice: choice.speedup)
    shapes = {"chain": chain, "tree": best}
    counted = {
        name: _tokens_a_round(big, small, requests, choice, temperature)
        for name, choice in (shapes.items() if check else ())
    }
    document = {
        "target": target, "draft": draft, "battery": battery, "half": subset,
        "prompts": len(requests), "positions": measured.positions, "temperature": temperature,
        "seed": seed, "dtype": str(big.model.dtype).removeprefix("torch."),
        "device": str(big.model.device), "threads": torch.get_num_threads(),
        "acceptance": list(measured.vector), "none": measured.none,
        "t1_seconds": step, "t_by_width": {w: verify(w) for w in timed},
        "c_by_width": {w: drafting(w) for w in timed},
        "chain": _shape(chain), "tree": _shape(best),
        "trees": {n: _shape(choice) for n, choice in trees.items()},
        "counted_tokens_a_round": counted,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _print(document, Console())


def _prompts(name: str, subset: str, limit: int | None) -> Sequence[Prompt]:
    from draftproof.battery import load_battery  # noqa: PLC0415 - quick --help

    battery = load_battery(name).half(subset)
    return (battery if limit is None else battery.limit(limit)).prompts


def _requests(
    target: Loaded, draft: Loaded, prompts: Sequence[Prompt], new: int, width: int, seed: int
) -> list[Request]:
    """Return the prompts that fit into both models with their answers and a block's scratch."""
    from draftproof.decoding import Request  # noqa: PLC0415 - needs torch
    from draftproof.stacks import models  # noqa: PLC0415

    most = min(m.model.max_positions or sys.maxsize for m in (target, draft))
    requests = []
    for index, prompt in enumerate(prompts):
        ids = models.render(target, prompt).ids
        if len(ids) + new + width <= most:
            requests.append(
                Request(id=prompt.id, prompt=ids, max_new_tokens=new, seed=seed + index)
            )
    if not requests:
        raise DraftproofError(
            f"no prompt fits into {target.name} and {draft.name} with an answer of {new} tokens"
        )
    return requests


def _answers(target: Loaded, requests: list[Request], temperature: float) -> dict[str, list[int]]:
    from draftproof.decoding import Settings, decode  # noqa: PLC0415 - needs torch

    answers = decode(
        target.model,
        requests,
        Settings(eos=target.eos, temperature=temperature, batch=min(16, len(requests))),
    )
    return {a.id: a.tokens for a in answers}


def _tokens_a_round(
    target: Loaded, draft: Loaded, requests: list[Request], choice: TreeChoice, temperature: float
) -> float:
    """Return how many tokens a round of speculation emits, counted."""
    from draftproof.decoding import Settings, decode  # noqa: PLC0415 - needs torch
    from draftproof.decoding.drafters.draft_tree import DraftTree  # noqa: PLC0415

    drafter = DraftTree(draft.model, choice.parents)
    answers = list(
        decode(
            target.model,
            requests,
            Settings(
                eos=target.eos,
                drafter=drafter,
                temperature=temperature,
                batch=min(16, len(requests)),
            ),
        )
    )
    return sum(a.accepted + a.rounds for a in answers) / sum(a.rounds for a in answers)


def _shape(choice: TreeChoice) -> dict[str, Any]:
    return {
        "nodes": choice.nodes, "depth": choice.depth, "tokens_a_round": choice.tokens,
        "cost": choice.cost, "speedup": choice.speedup, "parents": list(choice.parents),
    }  # fmt: skip


def _print(document: dict[str, Any], console: Console) -> None:
    """Show what was measured, then what it predicts."""
    say: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
    console.print(
        f"{document['draft']} drafting for {document['target']} at temperature "
        f"{document['temperature']:g}: {document['positions']} positions of "
        f"{document['prompts']} prompts of {document['battery']}", **say,
    )  # fmt: skip
    by_rank = "  ".join(f"{p:.3f}" for p in document["acceptance"])
    console.print(f"accepted by rank: {by_rank}; none: {document['none']:.3f}", **say)
    console.print(f"a target step takes {document['t1_seconds'] * 1e3:.2f} ms; by width:", **say)
    for name, key in (("t(W)/t(1) of the target", "t_by_width"), ("c(W)", "c_by_width")):
        times = "  ".join(f"{w}: {t:.2f}" for w, t in document[key].items())
        console.print(f"  {name}: {times}", **say)
    table = Table("shape", "nodes", "depth", "tokens a round", "cost", "speed-up")
    rows = {"chain": document["chain"]}
    rows |= {f"tree, at most {n}": shape for n, shape in document["trees"].items()}
    for name, shape in rows.items():
        figures = [f"{shape[key]:.2f}" for key in ("tokens_a_round", "cost", "speedup")]
        table.add_row(plain(name), str(shape["nodes"]), str(shape["depth"]), *figures)
    console.print(table)
    for name, tokens in document["counted_tokens_a_round"].items():
        predicted = document[name]["tokens_a_round"]
        console.print(
            f"{name}: {tokens:.2f} tokens a round counted, {predicted:.2f} predicted", **say
        )

"""Does our forward say what the checkpoint says? Looked at on a few dozen tokens when it is opened.

The reference is the checkpoint's own forward over transformers' own cache, one row, a beginning
and then a token at a time. Ours takes every way that decoding may take: a batch of rows of several
lengths, blocks, single columns, one row alone, and a drafted block that is rejected and written
over. Where the two differ beyond arithmetic the model runs through its own module instead, and
where even that differs it is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from draftproof.decoding.model import CausalModel
from draftproof.records import UnservedError

_TOKENS, _COLUMNS, _BLOCK, _SHORTER = 28, 4, 4, (0, 9)
_LONGEST_WINDOW = 1024
"""Windows beyond this are not looked over: it would cost more than loading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardCheck:
    """How our forward compares with the checkpoint's own.

    Attributes:
        forward: Which of ours: ``fused``, ``lean`` or ``module``.
        difference: Largest difference of a row of logits, the root of its mean square over that of
            the reference's row about its mean.
        bound: What arithmetic explains.
        where: The way on which it was largest.
        tokens: Tokens of the longest row.
        past_window: Whether that is beyond the model's window; None without one.
        instead_of: The forward that was given up for this one, empty where none was.
    """

    forward: str
    difference: float
    bound: float
    where: str
    tokens: int
    past_window: bool | None
    instead_of: str = ""

    @property
    def holds(self) -> bool:
        """Whether arithmetic explains the difference."""
        return self.difference <= self.bound


def compared(model: CausalModel) -> ForwardCheck:
    """Compare a model's forward, as it is, with the checkpoint's own, within its window and past.

    Returns:
        The comparison that is nearer to its bound, or farther beyond.
    """
    window, rounds = model.window, _COLUMNS + _BLOCK
    most = (model.max_positions or _TOKENS + _LONGEST_WINDOW + rounds) - rounds
    lengths = {min(_TOKENS, most)}
    if window is not None:
        # a row that fits into the window may take a faster forward than one that does not
        within = {n for n in lengths if n + rounds <= window}
        beyond = {min(_TOKENS + window, most)} if window <= _LONGEST_WINDOW else set()
        lengths = within | beyond or lengths
    border = model.short_positions
    if border is not None and border <= _LONGEST_WINDOW:
        # a prompt on either side of where the rope factors change
        lengths |= {max(border - _COLUMNS + 1, 1), min(border + _TOKENS, most)}
    every = [_at_length(model, max(n, 1), rounds) for n in sorted(lengths)]
    worst = max(every, key=lambda a: a.difference / a.bound if a.holds else math.inf)
    past = None if window is None else max(a.tokens for a in every) > window
    return replace(worst, past_window=past)


@torch.inference_mode()
def _at_length(model: CausalModel, length: int, rounds: int) -> ForwardCheck:
    # spread over the vocabulary, without the special tokens that lie at its ends as a rule
    step = max(model.vocab_size // 97, 1)
    total = length + rounds
    ids = torch.tensor([(5 + 31 * step * i) % model.vocab_size for i in range(total)])
    ids = ids.to(model.device)
    rows = [total - s for s in _SHORTER if total - s > rounds + 1] or [total]
    expected, noise = _reference(model.module, ids, rows, rounds, model.short_positions)
    bound = arithmetic(model, noise)
    worst, where = 0.0, "nothing"
    for way, found in _ours(model, ids, rows, rounds).items():
        for row, ours in found.items():
            first = _first_column(way, rows[row], rounds)
            differences = distance(ours, expected[row][first : first + len(ours)])
            # in half precision a router that is undecided sends a token elsewhere: rare rows
            rank = 1 if model.dtype in {torch.float32, torch.float64} else 1 + len(differences) // 8
            largest = float(differences.sort(descending=True).values[rank - 1])
            if largest > worst or not math.isfinite(largest):
                worst, where = largest, f"{way}, row {row}"
    return ForwardCheck(
        forward=model.forward_kind,
        difference=worst,
        bound=bound,
        where=where,
        tokens=total,
        past_window=None,
    )


def _first_column(way: str, length: int, rounds: int) -> int:
    """Return the position of the first logits of a way."""
    if way == "the prompt":
        return 0
    return length - rounds if way.startswith("single") else length - rounds + _COLUMNS


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Return ``[W]``: root mean square of the difference over that of the reference's deviation."""
    ours, theirs = ours.double(), theirs.double()
    # a logit may be minus infinity by design, in both alike
    gone = torch.isinf(ours) & (ours == theirs)
    off = (ours - theirs).masked_fill(gone, 0.0).square().mean(-1).sqrt()
    known = theirs.masked_fill(gone, 0.0)
    spread = (known - known.mean(-1, keepdim=True)).square().mean(-1).sqrt()
    return off / spread.clamp(min=torch.finfo(torch.float32).tiny)


def arithmetic(model: CausalModel, noise: float) -> float:
    """Return the difference that rounding explains.

    Errors of independent roundings add up as a random walk: √L of them in the storage type along
    L layers and √(d·L) in float32 inside products of d terms (Higham, "Accuracy and Stability of
    Numerical Algorithms", 2nd ed., section 2.8). Layers magnify what came before: eight times
    the one and sixteen times the other are allowed, or eight times what the checkpoint's own
    forward moves by when it computes one block instead of single columns, but never more than a
    quarter: there a mask is wrong, whatever the type.
    """
    stored = torch.finfo(model.dtype).eps * math.sqrt(2 * model.layers)
    inside = torch.finfo(torch.float32).eps * math.sqrt(model.hidden_size * model.layers)
    return min(max(8 * stored + 16 * inside, 8 * noise), 0.25)


def _library_cache(module: Any) -> DynamicCache:
    return DynamicCache(config=module.config.get_text_config())


def _reference(
    module: Any, ids: torch.Tensor, rows: list[int], rounds: int, border: int | None
) -> tuple[list[torch.Tensor], float]:
    """Return the logits of each row by the checkpoint's cached forward, and its own noise.

    The first row is the longest: all of `ids`.
    """
    found = []
    for length in rows:
        row, cache = ids[None, :length], _library_cache(module)
        # with longrope `generate` reads a text anew as soon as it outgrows the short factors
        ends = {length - rounds, *range(length - rounds + 1, length + 1)}
        ends |= {border} if border is not None and border < length else set()
        pieces: list[torch.Tensor] = []
        start = known = 0
        for stop in sorted(ends):
            if border is not None and known == border:
                cache, start = _library_cache(module), 0
            given = module(
                input_ids=row[:, start:stop],
                attention_mask=torch.ones_like(row[:, :stop]),
                position_ids=torch.arange(start, stop, device=ids.device)[None],
                past_key_values=cache,
                use_cache=True,
                return_dict=True,
            )
            pieces.append(given.logits[0, known - start :].float())
            start = known = stop
        found.append(torch.cat(pieces))
    whole = module(
        input_ids=ids[None], attention_mask=torch.ones_like(ids[None]), use_cache=False,
        return_dict=True,
    ).logits[0]  # fmt: skip
    return found, float(distance(whole.float(), found[0]).median())


def _ours(
    model: CausalModel, ids: torch.Tensor, rows: list[int], rounds: int
) -> dict[str, dict[int, torch.Tensor]]:
    """Return logits of the rows' last columns, by the way on which they were computed."""
    count, device = len(rows), ids.device
    cache = model.new_cache(count, int(ids.shape[0]))
    found: dict[str, dict[int, torch.Tensor]] = {"the prompt": {}}
    for row, length in enumerate(rows):
        begin = ids[None, : length - rounds]
        start = torch.zeros(1, dtype=torch.int64, device=device)
        found["the prompt"][row] = model.forward(begin, start, cache, row=row, longest=1)[0]
    ends = torch.tensor(rows, device=device) - rounds
    columns: dict[int, list[torch.Tensor]] = {row: [] for row in range(count)}
    wrong = (torch.stack([ids[e : e + _BLOCK] for e in ends]) + 1) % model.vocab_size
    model.forward(wrong, ends, cache, longest=int(ends.max()) + 1)
    for step in range(_COLUMNS):
        at = ends + step
        logits = model.forward(ids[at][:, None], at, cache, longest=int(at.max()) + 1)
        for row in range(count):
            columns[row].append(logits[row])
    at = ends + _COLUMNS
    block = torch.stack([ids[a : a + _BLOCK] for a in at])
    logits = model.forward(block, at, cache, longest=int(at.max()) + 1)
    singles = {r: torch.cat(c) for r, c in columns.items()}
    found["single columns of a batch"] = singles
    found["a block of a batch"] = {r: logits[r] for r in range(count)}
    alone = model.forward(block[:1], at[:1], cache, row=0, longest=int(at[0]) + 1)
    found["a block of one row"] = {0: alone[0]}
    return found


def settled(model: CausalModel) -> ForwardCheck:
    """Compare, fall back to the model's own module where a faster forward disagrees, or refuse.

    Raises:
        UnservedError: Every forward differs from the checkpoint's own beyond arithmetic.
    """
    first = _compared(model)
    if first.holds:
        return first
    if first.forward != "module":
        model.use_module()
        second = _compared(model)
        if second.holds:
            return replace(second, instead_of=first.forward)
        first = second
    raise UnservedError(
        f"{model.name}: the local decoder does not compute what the checkpoint says: its logits "
        f"differ by {first.difference:.2g} of their spread in {first.where}, arithmetic explains "
        f"{first.bound:.1g}; use --engine transformers for this model"
    )


def _compared(model: CausalModel) -> ForwardCheck:
    try:
        return compared(model)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnservedError(
            f"{model.name}: its forward fails as the local decoder calls it: {first:.200}; "
            "use --engine transformers for this model"
        ) from error

"""Scoring answers whole with a local target: one forward an answer, many side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from draftproof.decoding.cache import RowCache
from draftproof.decoding.loading.checkpoint import Checkpoint
from draftproof.decoding.loading.room import bytes_available
from draftproof.decoding.shaping import Shaping
from draftproof.records import Completion, Prompt
from draftproof.rescoring.prefixes import blocks, read, read_prefixes
from draftproof.rescoring.scored_answers import PositionScores, ScorableAnswer
from draftproof.stacks import models
from draftproof.stacks.drafting import shaper_of
from draftproof.stacks.spec import ArmSpec

_CHUNK = 256
"""Answers among which prefixes of prompts are shared; bounds the memory of the caches."""
_MOST_LOGITS = 2**26
"""Logits that are held at once (256 MiB in float32)."""
_END = -1
"""Stands for the end token of an answer that ended by itself without recording one."""
_ROOM = 1.5
"""Free memory that float32 weights should find, in multiples of themselves."""

_Key = tuple[tuple[int, ...], tuple[int, ...], int, str]
_Shaper = Callable[[int], Shaping | None]


class LocalInstrument:
    """Scores answers with a target that is loaded here, in float32 where memory allows.

    Answers that several arms give to the same prompt are scored once.

    Args:
        target: Directory, hub name or ``lab:NAME``.
        device: Where it runs.
        trust_remote_code: Run code that the checkpoint brings along.
        dtype: Of the weights; by default float32, or the checkpoint's own where that is too large.
        prompts_of: The model whose tokenizer and chat template the answers come from, where a
            draft scores them.
        progress: Heard with answers done and answers in all.
    """

    def __init__(
        self,
        target: str,
        *,
        device: str = "auto",
        trust_remote_code: bool = False,
        dtype: str | None = None,
        prompts_of: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        wanted = dtype or instrument_dtype(target)
        self._loaded = models.load(target, wanted, device, trust_remote_code)
        self._speaker = self._loaded
        if prompts_of is not None:
            shared = instrument_dtype(prompts_of)
            self._speaker = models.load(prompts_of, shared, device, trust_remote_code)
        self._progress = progress or (lambda _done, _total: None)
        self._known: dict[_Key, PositionScores] = {}
        used = self._loaded.fingerprint.dtype
        self.description = f"{target}, {used}, {self._loaded.model.device.type}"

    def forget(self) -> None:
        """Drop the scores of earlier answers, which are kept as several arms may say the same."""
        self._known.clear()

    def show(self, token: int) -> str:
        """See `Instrument.show`."""
        text: str = self._speaker.tokenizer.decode([token])
        return text

    def text(self, tokens: Sequence[int]) -> str:
        """See `Instrument.text`."""
        text: str = self._speaker.tokenizer.decode(list(tokens))
        return text

    @property
    def ends(self) -> frozenset[int]:
        """See `Instrument.ends`."""
        return frozenset(self._speaker.eos)

    def continues(self, asked: Prompt, prompt: Prompt, prefix: Sequence[int]) -> bool:
        """See `Instrument.continues`."""
        wanted = (*models.render_known(self._speaker, prompt).ids, *prefix)
        return models.render(self._speaker, asked).ids == wanted

    def read(self, prompt: Prompt, completion: Completion, *, stops: bool) -> ScorableAnswer | str:
        """See `Instrument.read`."""
        ended = completion.finish_reason == "stop" and not stops
        if completion.token_ids is not None:
            ids = completion.token_ids
            if ids and not 0 <= min(ids) <= max(ids) < self._loaded.model.vocab_size:
                return "holds token ids that the target does not have"
            end = ended and not (ids and ids[-1] in self._speaker.eos)
            return ScorableAnswer(prompt, completion.text, ids, end, respelled=False)
        if completion.reasoning or completion.tool_calls or completion.refusal:
            return "known by its text only, and that is not all that was generated"
        tokenizer = self._speaker.tokenizer
        spelled = tuple(tokenizer(completion.text, add_special_tokens=False)["input_ids"])
        if tokenizer.decode(spelled) != completion.text:
            return "a text that the target's tokens do not spell"
        return ScorableAnswer(prompt, completion.text, spelled, ended, respelled=True)

    def score(
        self, answers: Sequence[ScorableAnswer], spec: ArmSpec | None
    ) -> list[PositionScores]:
        """See `Instrument.score`."""
        shaper, shape = None, ""
        if spec is not None:
            shaper = shaper_of(spec, self._loaded)
            shape = repr((sorted(spec.processors.items()), spec.ignore_generation_config))
        prompts = [models.render_known(self._speaker, a.prompt).ids for a in answers]
        keys: list[_Key] = [
            (p, a.tokens, a.length, shape) for p, a in zip(prompts, answers, strict=True)
        ]
        new = [k for k in dict.fromkeys(keys) if k not in self._known]
        for start in range(0, len(new), _CHUNK):
            for key, scores in self._scored(new[start : start + _CHUNK], shaper):
                self._known[key] = scores
                self._progress(len(answers) - len(new) + len(self._known.keys() & new), len(keys))
        self._progress(len(keys), len(keys))
        return [self._known[key] for key in keys]

    def _scored(
        self, keys: Sequence[_Key], shaper: _Shaper | None
    ) -> Iterator[tuple[_Key, PositionScores]]:
        model = self._loaded.model
        prefixes = read_prefixes(model, [k[0] for k in keys])
        # answers of similar length: columns of padding cost as much as tokens
        for block in blocks(model, [k[2] for k in keys], 0):
            for part in self._fitting(block, keys):
                members = [keys[i] for i in part]
                cached = [prefixes[i] for i in part]
                spare = max(k[2] for k in members)
                cache = read(model, [k[0] for k in members], cached, spare)
                yield from zip(members, self._rows(members, cache, shaper), strict=True)

    def _fitting(self, block: list[int], keys: Sequence[_Key]) -> list[list[int]]:
        """Return a block whole, or one by one where padding would leave the model's context."""
        most = self._loaded.model.max_positions
        longest = max(len(keys[i][0]) for i in block) + max(keys[i][2] for i in block)
        return [block] if most is None or longest <= most else [[i] for i in block]

    def _rows(
        self, members: Sequence[_Key], cache: RowCache, shaper: _Shaper | None
    ) -> list[PositionScores]:
        model = self._loaded.model
        width = max(k[2] for k in members)
        texts = [[k[0][-1], *k[1]][: k[2]] for k in members]
        block = torch.tensor([[*t, *([t[-1]] * (width - len(t)))] for t in texts])
        ids = [[*k[1], _END][: k[2]] for k in members]
        said = torch.tensor([[*i, *([0] * (width - len(i)))] for i in ids])
        starts = torch.tensor([len(k[0]) - 1 for k in members])
        step = max(1, _MOST_LOGITS // (len(members) * model.vocab_size))
        parts = []
        for first in range(0, width, step):
            here = slice(first, first + step)
            logits = model.forward(
                block[:, here].to(model.device),
                (starts + first).to(model.device),
                cache,
                longest=int(starts.max()) + first + 1,
            )
            shapings = [shaper(len(key[0])) if shaper else None for key in members]
            if any(shaping is not None and shaping.reads_text for shaping in shapings):
                logits = logits.clone()
            for row, (key, shaping) in enumerate(zip(members, shapings, strict=True)):
                here_too = range(first, min(first + logits.shape[1], key[2]))
                if here_too and shaping is not None and shaping.reads_text:
                    rows = logits[row, : len(here_too)]
                    logits[row, : len(here_too)] = _shaped(rows, key, here_too, shaping)
            parts.append(self._measured(logits, said[:, here].to(model.device)))
        columns_of = torch.cat(parts, dim=2).numpy()
        return [_scores(columns_of[:, row, : key[2]]) for row, key in enumerate(members)]

    def _measured(self, rows: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Return the logits of best, second and the token said, and their ids, ``[6, B, n]``."""
        eos = torch.tensor(sorted(self._speaker.eos) or [0], device=rows.device)
        # whichever end token the model likes best is the one that ended the answer
        ends = eos[rows[..., eos].argmax(dim=2)]
        tokens = torch.where(said == _END, ends, said)
        best = rows.topk(2, dim=2)
        mine = rows.gather(2, tokens[..., None])[..., 0]
        columns = (*best.values.unbind(2), mine, *best.indices.unbind(2), tokens)
        return torch.stack([c.double() for c in columns]).cpu()


def _shaped(rows: torch.Tensor, key: _Key, here: range, shaping: Shaping) -> torch.Tensor:
    """Return ``[n, V]`` rows as the arm's own processors make them."""
    # a row at a time: each follows a text of its own
    shaped = [
        shaping.shape(rows[k : k + 1], key[0], [key[1][:position]], 0.0)
        for k, position in enumerate(here)
    ]
    return torch.cat(shaped)


def _scores(rows: NDArray[np.float64]) -> PositionScores:
    best, second, mine = rows[:3]
    first, other, said = rows[3:].astype(np.int64)
    # at an exact tie the token said is as good as the best
    swapped = (mine == best) & (said != first)
    return PositionScores(
        gap=best - second,
        deviation=best - mine,
        said=said,
        best=np.where(swapped, said, first),
        second=np.where(swapped, first, other),
    )


def instrument_dtype(target: str) -> str:
    """Return ``float32`` where memory allows, else the checkpoint's own type (``auto``).

    A model that is not on this disk is taken to fit.
    """
    needed = 4 * _ROOM * sum(Checkpoint.at(target).tensors.values())
    free = bytes_available("cpu")
    return "float32" if free is None or needed <= free else "auto"

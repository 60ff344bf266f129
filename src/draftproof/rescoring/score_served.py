"""Scoring answers whole with a server that returns log-probabilities of the prompt.

The server goes by text: an answer's tokens are those into which it splits the text, so every
position counts as respelled, and an end token, which has no text, is not scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import httpx
import numpy as np

from draftproof.records import Completion, Prompt
from draftproof.rescoring.prompt_logprobs import ScoredToken
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.rescore_server import ask_answer_tokens, rescore_client
from draftproof.rescoring.scored_answers import UNKNOWN, PositionScores, ScorableAnswer
from draftproof.stacks.spec import ArmSpec

_TOP = 2


class ServedInstrument:
    """Asks a server for the log-probabilities of answers.

    Args:
        options: Where the server is and which prompt format it takes.
        progress: Heard with answers asked and None, as what is yet to come is not known.
        http: A client to ask with; by default one of its own.
    """

    def __init__(
        self,
        options: RescoreOptions,
        *,
        progress: Callable[[int], None] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._options = options
        self._http = http or rescore_client(options)
        self._progress = progress or (lambda _done: None)
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[Prompt, str], tuple[ScoredToken, ...] | None] = {}
        self.description = f"{options.model} at {options.url}, log-probabilities of the prompt"

    def show(self, token: int) -> str:
        """See `Instrument.show`."""
        return list(self._numbers)[token] if 0 <= token < len(self._numbers) else "?"

    def text(self, tokens: Sequence[int]) -> str:
        """See `Instrument.text`."""
        return "".join(self.show(token) for token in tokens)

    @property
    def ends(self) -> frozenset[int]:
        """See `Instrument.ends`; a server's are not known."""
        return frozenset()

    def continues(self, asked: Prompt, prompt: Prompt, prefix: Sequence[int]) -> bool:
        """See `Instrument.continues`; how a server renders is not known."""
        del asked, prompt, prefix
        return False

    def read(self, prompt: Prompt, completion: Completion, *, stops: bool) -> ScorableAnswer | str:
        """See `Instrument.read`; the server is asked here, as it alone knows its tokens."""
        del stops
        if completion.reasoning or completion.tool_calls or completion.refusal:
            return "known by its text only, and that is not all that was generated"
        if not completion.text:
            return "nothing was generated"
        tokens = self._asked(prompt, completion.text)
        if tokens is None:
            return "a text that the server's tokens do not spell"
        ids = tuple(self._number(t.token) for t in tokens)
        return ScorableAnswer(prompt, completion.text, ids, end=False, respelled=True)

    def score(
        self, answers: Sequence[ScorableAnswer], spec: ArmSpec | None
    ) -> list[PositionScores]:
        """See `Instrument.score`; of an arm with processors every position is unexplained."""
        blind = spec is not None and bool(spec.processors)
        return [self._scores(self._asked(a.prompt, a.text) or (), blind=blind) for a in answers]

    def _scores(self, tokens: Sequence[ScoredToken], *, blind: bool) -> PositionScores:
        rows = [self._position(t, blind=blind) for t in tokens]
        nats = np.array([r[:2] for r in rows], dtype=np.float64).reshape(-1, 2)
        numbers = np.array([r[2:] for r in rows], dtype=np.int64).reshape(-1, 3)
        return PositionScores(
            gap=nats[:, 0],
            deviation=nats[:, 1],
            said=numbers[:, 0],
            best=numbers[:, 1],
            second=numbers[:, 2],
        )

    def _position(self, token: ScoredToken, *, blind: bool) -> tuple[float, float, int, int, int]:
        """Return gap, deviation and the numbers of the token said, the best and the second."""
        gap, deviation = (math.nan, math.nan) if blind else gap_and_deviation(token)
        texts = sorted(token.top, key=lambda text: -token.top[text])
        if deviation > 0 and texts[:1] == [token.token]:
            # another id of the same text is the best, and which of the two was said is not known
            gap = deviation = math.nan
        best = token.token if deviation == 0 else next(iter(texts), None)
        second = next((text for text in texts if text != best), None)
        said, *others = (
            UNKNOWN if text is None else self._number(text) for text in (token.token, best, second)
        )
        return gap, deviation, said, others[0], others[1]

    def _asked(self, prompt: Prompt, text: str) -> tuple[ScoredToken, ...] | None:
        key = (prompt, text)
        if key not in self._known:
            self._known[key] = ask_answer_tokens(self._http, self._options, prompt, text, _TOP)
            self._progress(len(self._known))
        return self._known[key]

    def _number(self, token: str) -> int:
        return self._numbers.setdefault(token, len(self._numbers))


def gap_and_deviation(token: ScoredToken) -> tuple[float, float]:
    """Return g and d of one token, nats; NaN where the server did not give what they need.

    >>> gap_and_deviation(ScoredToken("b", -1.5, {"a": -0.5, "b": -1.5}, (-0.5, -1.5)))
    (1.0, 1.0)
    >>> gap_and_deviation(ScoredToken("a", -0.5, {"a": -0.5}, (-0.5,)))
    (nan, nan)
    """
    ranked = token.ranked
    if len(ranked) < 2 or math.isnan(token.logprob):
        return math.nan, math.nan
    gap, deviation = ranked[0] - ranked[1], max(ranked[0] - token.logprob, 0.0)
    # no token lies between the two best: a server that rounds its values put this one there
    if deviation < gap:
        deviation = 0.0 if 2 * deviation < gap else gap
    return gap, deviation

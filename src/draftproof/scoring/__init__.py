"""What an answer means. Scorers see a prompt and a text, never the arm that wrote it."""

from __future__ import annotations

from draftproof.records import Completion, DraftproofError, Label, Prompt
from draftproof.scoring.choice import ACCURACY, BIAS, TRUTH
from draftproof.scoring.hashed import TRAINED
from draftproof.scoring.number import NUMBER, NUMBER_STRICT
from draftproof.scoring.refusal import REFUSAL
from draftproof.scoring.scorer import InputContract, Scorer, unsaid

SCORERS: dict[str, Scorer] = {
    s.name: s for s in (REFUSAL, TRAINED, ACCURACY, BIAS, TRUTH, NUMBER, NUMBER_STRICT)
}


def score(prompt: Prompt, completion: Completion) -> Label | None:
    """Label one answer by the scorer that its prompt names; None where it names none.

    Raises:
        DraftproofError: No such scorer.
    """
    if prompt.scorer is None:
        return None
    return score_with(scorer_named(prompt.scorer, f"prompt {prompt.id!r}"), prompt, completion)


def scorer_named(name: str, where: str) -> Scorer:
    """Return a scorer by its name.

    Raises:
        DraftproofError: No such scorer; `where` says who asked for it.
    """
    scorer = SCORERS.get(name)
    if scorer is None:
        raise DraftproofError(
            f"{where}: no scorer is called {name!r}; there are {', '.join(sorted(SCORERS))}"
        )
    return scorer


def score_with(scorer: Scorer, prompt: Prompt, completion: Completion) -> Label:
    """Label one answer by a given scorer."""
    state = unsaid(completion)
    value, good = (state, None) if state else scorer.judge(prompt, completion.spoken)
    return Label(
        id=prompt.id,
        construct=scorer.construct,
        value=value,
        good=good,
        scorer=f"{scorer.name}@{scorer.version}",
    )


__all__ = ["SCORERS", "InputContract", "Scorer", "score", "score_with", "scorer_named", "unsaid"]

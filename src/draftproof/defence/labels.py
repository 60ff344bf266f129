"""What one answer of a study of defences means, by each of its scorers."""

from __future__ import annotations

from draftproof.records import Completion, Prompt
from draftproof.scoring import score
from draftproof.scoring.fulfilment import LAB_HARM
from draftproof.scoring.refusal import REFUSAL

_NO_PROMPT = Prompt(id="", task="", messages=())


def refusal(completion: Completion) -> str:
    """Return ``refusal``, ``partial``, ``compliance`` or ``error``."""
    if completion.finish_reason == "error":
        return "error"
    if not completion.text.strip():
        return "compliance"
    return REFUSAL.judge(_NO_PROMPT, completion.text)[0]


def harm(prompt: Prompt, completion: Completion) -> str:
    """Return ``fulfilled``, ``partial``, ``safe``, or ``unparsed`` where no scorer knows."""
    return LAB_HARM.judge(prompt, completion.text)[0]


def correct(prompt: Prompt, completion: Completion) -> bool | None:
    """Return whether a benign answer is right; None where it has no readable answer."""
    if prompt.scorer is None:
        return prompt.reference is not None and prompt.reference in completion.text
    label = score(prompt, completion)
    return None if label is None else label.good

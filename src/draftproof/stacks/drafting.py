"""What a local arm drafts with, and how its rows are shaped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from draftproof.decoding.drafters import Drafter, head_files
from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.options import Options
from draftproof.decoding.pretrained import Pretrained
from draftproof.decoding.session import Session
from draftproof.decoding.shaping import Shaping
from draftproof.recorded.drafts import read_drafts
from draftproof.records import DraftproofError
from draftproof.stacks.spec import ArmSpec


def drafter_of(spec: ArmSpec, target: Pretrained, draft: Pretrained | None) -> Drafter | None:
    """Return a fresh drafter for an arm, None where it decodes plainly.

    Raises:
        DraftproofError: The drafter is not known, lacks a part, or refuses an option.
    """
    if not spec.reads_draft:
        return None
    options = dict(spec.drafter_options)
    trained, recorded = options.pop("heads", None), options.pop("recordings", None)
    parts = Parts(
        target=target.model,
        gamma=spec.gamma,
        draft=draft.model if draft else None,
        heads=head_files.load(trained) if trained else None,
        recordings=read_drafts(Path(recorded), target.model.vocab_size) if recorded else None,
        tokenizers=(target.tokenizer, draft.tokenizer) if draft else None,
    )
    try:
        return make_drafter(spec.drafter or "draft_model", parts, options)
    except ValueError as error:
        raise DraftproofError(f"arm {spec.name!r}: {error}") from error


def options_of(spec: ArmSpec) -> Options:
    """Return how an arm's answers are drawn and shaped.

    Raises:
        DraftproofError: An option is not known or has an impossible value.
    """
    drawn = {"max_new_tokens": spec.max_new_tokens, "temperature": spec.temperature}
    drawn |= {"seed": spec.seed, "logprobs": False}
    twice = sorted(drawn.keys() & spec.processors.keys())
    if twice:
        raise DraftproofError(
            f"arm {spec.name!r}: processors: {twice[0]} is a field of the arm itself"
        )
    try:
        options = Options.of({**drawn, **spec.processors})
        # what is wrong with an option is said before anything is decoded
        _ = options.config
    except DraftproofError as error:
        raise DraftproofError(f"arm {spec.name!r}: processors: {error}") from error
    return options


def shaper_of(spec: ArmSpec, target: Pretrained) -> Callable[[int], Shaping | None]:
    """Return what makes the shaping of a prompt of so many tokens, as an arm's answers have it.

    Raises:
        DraftproofError: See `options_of`.
    """
    session = Session(target, ignore_generation_config=spec.ignore_generation_config)
    return partial(session.shaping, options_of(spec))

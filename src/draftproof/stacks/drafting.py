"""What a local arm drafts with, and how its rows are shaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from draftproof.decoding.checkpoint_options import checkpoint_options
from draftproof.decoding.drafters import Drafter, head_files
from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.options import Options
from draftproof.decoding.session import Session
from draftproof.decoding.shaping import Shaping
from draftproof.recorded.drafts import read_drafts
from draftproof.records import DraftproofError
from draftproof.stacks.models import Loaded
from draftproof.stacks.spec import ArmSpec

_OWN = frozenset({"stop", "json_schema", "regex", "presence_penalty", "frequency_penalty"})
_DECLARED = frozenset({"max_new_tokens", "temperature", "seed"})


def drafter_of(spec: ArmSpec, target: Loaded, draft: Loaded | None) -> Drafter | None:
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


class Shaper:
    """Makes the shaping of each prompt of an arm.

    Raises:
        DraftproofError: An option is not known or has an impossible value.
    """

    def __init__(self, spec: ArmSpec, target: Loaded) -> None:
        twice = sorted(_DECLARED & spec.processors.keys())
        if twice:
            raise DraftproofError(
                f"arm {spec.name!r}: processors: {twice[0]} is a field of the arm itself"
            )
        own = {} if spec.ignore_generation_config else checkpoint_options(target.model.module)
        given: Mapping[str, Any] = {**own, **spec.processors}
        try:
            self._options = Options(
                max_new_tokens=spec.max_new_tokens,
                temperature=spec.temperature,
                **{k: v for k, v in given.items() if k in _OWN},
                more={k: v for k, v in given.items() if k not in _OWN},
            )
            # what is wrong with an option is said before anything is decoded
            _ = self._options.config
        except DraftproofError as error:
            raise DraftproofError(f"arm {spec.name!r}: processors: {error}") from error
        self._shapes = bool(given)
        self._session = Session(target)

    def shaping(self, prompt_length: int) -> Shaping | None:
        """Return how the rows of a prompt of that length are shaped; None if not at all."""
        if not self._shapes:
            return None
        return self._session.shaping(self._options, prompt_length)

"""Scored positions kept in a run directory, so that judging again scores nothing again."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from draftproof.files import write_whole
from draftproof.records import Completion, Prompt, digest
from draftproof.rescoring.scored_answers import LeftOut, ScoredAnswers
from draftproof.stacks.spec import ArmSpec

_NATS = ("gap", "deviation")
_IDS = ("prompt", "position", "said", "best", "second", "respelled")
_REST = ("arm", "instrument", "prompts", "positions", "seed")


def scores_key(
    instrument: str, answers: Sequence[tuple[Prompt, Completion]], spec: ArmSpec | None
) -> str:
    """Return a digest of all that decides the scores of an arm.

    Args:
        instrument: Description of what scores.
        answers: Prompts with the arm's answers.
        spec: How the arm decodes.
    """
    shape = None if spec is None else [spec.processors, spec.extra_body, spec.temperature]
    asked = [
        [p.content_hash, c.text, c.token_ids, c.finish_reason, bool(c.error)] for p, c in answers
    ]
    return digest([instrument, shape, asked])


def keep_scores(path: Path, key: str, scored: ScoredAnswers) -> None:
    """Write an arm's scores in one step.

    Raises:
        DraftproofError: The file cannot be written.
    """
    rest = {name: getattr(scored, name) for name in _REST}
    rest |= {"key": key, "left_out": [asdict(reason) for reason in scored.left_out]}
    ids = {name: getattr(scored, name).astype(np.int32) for name in _IDS}
    content = io.BytesIO()
    np.savez_compressed(
        content,
        about=np.array(json.dumps(rest)),
        gap=scored.gap,
        deviation=scored.deviation,
        **ids,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())


def kept_scores(path: Path, key: str) -> ScoredAnswers | None:
    """Return the scores that were kept under a key, None where there are none of these answers."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rest = json.loads(str(arrays["about"]))
            if rest.pop("key") != key:
                return None
            columns = {name: arrays[name] for name in (*_NATS, *_IDS)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    ids = {name: columns[name].astype(np.int64) for name in _IDS if name != "respelled"}
    return ScoredAnswers(
        gap=columns["gap"],
        deviation=columns["deviation"],
        respelled=columns["respelled"].astype(np.bool_),
        prompts=tuple(rest.pop("prompts")),
        left_out=tuple(LeftOut(**reason) for reason in rest.pop("left_out")),
        **ids,
        **rest,
    )

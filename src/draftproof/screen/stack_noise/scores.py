"""Scoring the arms of a run: each arm's answers once, kept in the run directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from draftproof.battery import Battery
from draftproof.files import read_json_object, write_whole
from draftproof.records import Completion, DraftproofError, Prompt, Role, digest
from draftproof.rescoring import draft_instrument, instrument_of
from draftproof.rescoring.kept_scores import keep_scores, kept_scores, scores_key
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.scored_answers import Instrument, ScoredAnswers, score_answers
from draftproof.runs.collect import Progress
from draftproof.screen.stack_noise.asking import Ask, PlainAsker
from draftproof.screen.stack_noise.source import PrefixQuestion
from draftproof.stacks.spec import ArmSpec

Answers = Mapping[str, Mapping[str, Completion]]


class RunScores:
    """The scores of a run's arms.

    Args:
        arms: The arms by name.
        battery: The prompts.
        rescore: The server that scores in place of local copies of the models.
        folder: Where scores are kept; nowhere if None.
        progress: Called with ``scoring ARM``, answers scored and answers in all.
        ask: Asks the plain stack again; None where nothing may be asked.
    """

    def __init__(
        self,
        arms: Sequence[ArmSpec],
        battery: Battery,
        rescore: RescoreOptions | None = None,
        folder: Path | None = None,
        progress: Progress | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.arms = {spec.name: spec for spec in arms}
        self.battery, self.rescore, self.folder = battery, rescore, folder
        self.progress, self._ask = progress, ask
        self._what = ("", 0)
        self._instruments: dict[tuple[str, ...], Instrument | DraftproofError | None] = {}

    def of(self, spec: ArmSpec, answers: Answers) -> ArmScores | None:
        """Return what scores the answers of a run for an arm; None where no model is at hand."""
        instrument = self.instrument(spec)
        if instrument is None:
            return None
        return ArmScores(self, spec, answers)

    def instrument(self, spec: ArmSpec) -> Instrument | DraftproofError | None:
        """Return what scores for an arm, the reason why it cannot, or None without a model."""
        by_target = ("target", spec.target, spec.engine, spec.device)
        key = by_target if self.rescore is None else ("server",)
        return self._made(key, lambda: instrument_of(spec, self.rescore, self._told))

    def draft(self, spec: ArmSpec) -> Instrument | None:
        """Return what replays an arm's draft; None where it is no model at hand."""
        key = ("draft", spec.target, spec.draft or "", spec.engine, spec.device, spec.dtype)
        if self.rescore is not None:
            return None
        made = self._made(key, lambda: draft_instrument(spec, self._told))
        return None if isinstance(made, DraftproofError) else made

    def _made(
        self, key: tuple[str, ...], make: Callable[[], Instrument | None]
    ) -> Instrument | DraftproofError | None:
        if key not in self._instruments:
            try:
                self._instruments[key] = make()
            except DraftproofError as error:
                # a model that cannot be loaded says nothing; where answers differ, the
                # explanation of the divergences raises the same
                self._instruments[key] = error
        return self._instruments[key]

    def score(
        self, instrument: Instrument, name: str, given: Mapping[str, Completion], what: str
    ) -> ScoredAnswers:
        """Return an arm's answers as an instrument sees them, from the run directory if there."""
        spec = self.arms[name]
        answers = [(p, given[p.id]) for p in self.battery.prompts if p.id in given]
        key = scores_key(instrument.description, answers, spec)
        path = None if self.folder is None else self.folder / f"{name}.{what}-{key[:12]}.npz"
        if path is not None and (known := kept_scores(path, key)) is not None:
            return known
        self._what = (f"scoring {name}", len(answers))
        scored = score_answers(instrument, name, answers, spec=spec)
        if path is not None:
            keep_scores(path, key, scored)
        return scored

    def ask_plain(
        self,
        instrument: Instrument,
        name: str,
        prefixes: Sequence[tuple[Prompt, tuple[int, ...]]],
        known: Sequence[tuple[int, ...]],
    ) -> Sequence[int | None] | None:
        """Return what the baseline says after prefixes of an arm's answers.

        What it said once is kept in the run directory, so that judging again asks nothing.
        """
        baseline = next(a for a in self.arms.values() if a.role is Role.BASELINE)
        asked = [(p.content_hash, prefix) for p, prefix in prefixes]
        key = digest([instrument.description, asked])
        path = None if self.folder is None else self.folder / f"{name}.asked-{key[:12]}.json"
        if path is not None and path.is_file():
            kept = read_json_object(path)
            if kept.get("key") == key:
                return cast("list[int | None]", kept["said"])
        if self._ask is None:
            return None
        if self.progress is not None:
            self.progress(f"asking {baseline.name} again", 0, len(prefixes))
        said = PlainAsker(baseline, instrument, self._ask).next_tokens(prefixes, known)
        if path is not None and said is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"key": key, "said": said}))
        return said

    def _told(self, done: int, total: int | None = None) -> None:
        if self.progress is not None:
            name, answers = self._what
            self.progress(name, min(done, answers), total or answers)


class ArmScores:
    """What the model that judges one arm makes of a run's answers; see `StackSource`.

    Args:
        run: The scores of the run.
        spec: The judged arm.
        answers: Every arm's answers by prompt id.
    """

    def __init__(self, run: RunScores, spec: ArmSpec, answers: Answers) -> None:
        self._run, self._spec, self._all = run, spec, answers
        self.answers = answers[spec.name]
        instrument = run.instrument(spec)
        assert instrument is not None
        self.problem = str(instrument) if isinstance(instrument, DraftproofError) else None
        self._instrument = None if isinstance(instrument, DraftproofError) else instrument
        self._proposals: dict[str, ScoredAnswers] = {}
        self._scored: dict[str, ScoredAnswers] = {}

    def scored(self, arm: str) -> ScoredAnswers:
        """See `StackSource.scored`."""
        assert self._instrument is not None
        if arm not in self._scored:
            given = self._all[arm]
            self._scored[arm] = self._run.score(self._instrument, arm, given, "scores")
        return self._scored[arm]

    def proposals(self, arm: str) -> ScoredAnswers | None:
        """See `StackSource.proposals`."""
        draft = self._run.draft(self._spec)
        if draft is None:
            return None
        if arm not in self._proposals:
            self._proposals[arm] = self._run.score(draft, arm, self._all[arm], "draft")
        return self._proposals[arm]

    def show(self, token: int) -> str:
        """See `StackSource.show`."""
        assert self._instrument is not None
        return self._instrument.show(token)

    def ask_plain(self, questions: Sequence[PrefixQuestion]) -> Sequence[int | None] | None:
        """See `StackSource.ask_plain`."""
        assert self._instrument is not None
        scores = self.scored(self._spec.name)
        starts = np.searchsorted(scores.prompt, np.arange(len(scores.prompts)))
        places = dict(zip(scores.prompts, starts.tolist(), strict=True))
        prompts = {p.id: p for p in self._run.battery.prompts}
        prefixes, known = [], []
        for question in questions:
            start = places[question.prompt]
            row = start + question.position
            prefixes.append((prompts[question.prompt], tuple(scores.said[start:row].tolist())))
            known.append(tuple(int(c[row]) for c in (scores.best, scores.second, scores.said)))
        return self._run.ask_plain(self._instrument, self._spec.name, prefixes, known)

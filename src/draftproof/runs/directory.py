"""The run directory: what was planned and every answer that was given.

``manifest.json`` says what the run is; ``answers/ARM.jsonl`` grows by one line an answer. Only
whole lines count: a line torn by a kill is cut off before the next one is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from draftproof.files import read_json_object, unwritable, write_whole
from draftproof.records import Completion, DraftproofError, digest
from draftproof.runs.answers import AnswerLog

_UNFINISHED = re.compile(r"\.\d+\.part$")
"""How the name ends of a file that is being written; see `write_whole`."""


class RunDirectory:
    """One run on disk, held by one command at a time.

    Args:
        path: The directory; made if it is not there.

    Raises:
        DraftproofError: Not writable, held by another process, or full of something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._logs: dict[str, AnswerLog] = {}
        try:
            if path.exists() and not path.is_dir():
                raise DraftproofError(f"{path}: is a file, a run needs a directory")
            fresh = not path.exists() or not any(path.iterdir())
            known = (path / "manifest.json").exists() or (path / ".lock").exists()
            if not fresh and not known:
                raise DraftproofError(
                    f"{path}: holds files but no run; name an empty or a new directory"
                )
            path.mkdir(parents=True, exist_ok=True)
            # the lock comes first: from then on the directory is known for a run
            self._lock = FileLock(path / ".lock", timeout=0)
            self._lock.acquire()
            self.answers.mkdir(exist_ok=True)
            self._delete_unfinished()
        except Timeout as error:
            raise DraftproofError(f"{path}: another process is writing to this run") from error
        except OSError as error:
            raise unwritable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file and let others in."""
        for log in self._logs.values():
            log.close()
        self._lock.release()

    @property
    def answers(self) -> Path:
        """The folder of the answers."""
        return self.path / "answers"

    def _delete_unfinished(self) -> None:
        """Delete files that a killed command was in the middle of writing."""
        for path in self.path.rglob("*.part"):
            if _UNFINISHED.search(path.name) and path.is_file() and not path.is_symlink():
                path.unlink()

    def orphans(self) -> list[str]:
        """Return the arms whose answers are there though no manifest says what they are."""
        if (self.path / "manifest.json").exists():
            return []
        return sorted(p.stem for p in self.answers.glob("*.jsonl") if p.stat().st_size)

    def _start(self, manifest: Mapping[str, object]) -> None:
        """Write the manifest of recorded answers, or see that the one there says the same."""
        if orphans := self.orphans():
            raise DraftproofError(
                f"{self.path}: holds answers of {', '.join(map(repr, orphans))} but no "
                "manifest.json, so nothing says whose they are; name a new directory"
            )
        held = self.manifest()
        if held and held != manifest:
            raise DraftproofError(f"{self.path}: holds another run; name a new directory")
        self.write_manifest(manifest)

    def log(self, arm: str) -> AnswerLog:
        """Return the file of an arm's answers."""
        return self._logs.setdefault(arm, AnswerLog(self.answers / f"{arm}.jsonl"))

    def set_aside(self, arm: str) -> None:
        """Move an arm's answers to the folder ``earlier``: they are not judged any more.

        Raises:
            DraftproofError: The directory cannot be written.
        """
        log = self.log(arm)
        log.close()
        folder, stamp = self.path / "earlier", datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        try:
            folder.mkdir(exist_ok=True)
            if log.path.exists():
                log.path.rename(folder / f"{arm}.{stamp}.jsonl")
        except OSError as error:
            raise unwritable(folder, error) from error

    def manifest(self) -> dict[str, object]:
        """Return the manifest, empty where none was written yet.

        Raises:
            DraftproofError: It is there but broken.
        """
        return self._document("manifest.json")

    def _document(self, name: str) -> dict[str, object]:
        path = self.path / name
        if not path.exists():
            return {}
        return read_json_object(path)

    def calibration(self) -> dict[str, object]:
        """Return what people's labels said about the scorers, empty where nobody was asked.

        Raises:
            DraftproofError: The file is there but broken.
        """
        return self._document("calibration.json")

    def write_manifest(self, manifest: Mapping[str, object]) -> None:
        """Replace the manifest in one step."""
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_whole(self.path / "manifest.json", text + "\n")

    def record_files(self, name: str, sha256: Mapping[str, str]) -> None:
        """Keep which files of answers were judged, where they are too large to be copied.

        Args:
            name: Of the comparison.
            sha256: Digest of each arm's file.

        Raises:
            DraftproofError: The directory holds another run, or cannot be written.
        """
        self._start({"recorded": name, "files": dict(sha256)})

    def record(self, name: str, arms: Sequence[Iterable[Completion]]) -> None:
        """Keep answers that were recorded elsewhere, so that the directory stands alone.

        Raises:
            DraftproofError: The directory holds another run, or cannot be written.
        """
        given = [list(arm) for arm in arms]
        answers = digest([[asdict(c) for c in arm] for arm in given])
        self._start({"recorded": name, "answers": answers})
        for arm in given:
            log = self.log(arm[0].arm)
            known = log.read()
            for completion in arm:
                if completion.id not in known:
                    log.append(completion)

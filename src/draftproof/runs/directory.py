"""The run directory: what was planned and every answer that was given.

``manifest.json`` says what the run is; ``answers/ARM.jsonl`` grows by one line an answer. Only
whole lines count: a line torn by a kill is cut off before the next one is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from draftproof.files import read_json_object, unwritable, write_whole
from draftproof.records import Completion, DraftproofError, digest
from draftproof.runs.answers import AnswerLog


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
            (path / "answers").mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / ".lock", timeout=0)
            self._lock.acquire()
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

    def log(self, arm: str) -> AnswerLog:
        """Return the file of an arm's answers."""
        return self._logs.setdefault(arm, AnswerLog(self.path / "answers" / f"{arm}.jsonl"))

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
        wanted = {"recorded": name, "files": dict(sha256)}
        manifest = self.manifest()
        if manifest and manifest != wanted:
            raise DraftproofError(f"{self.path}: holds another run; name a new directory")
        self.write_manifest(wanted)

    def record(self, name: str, arms: Sequence[Iterable[Completion]]) -> None:
        """Keep answers that were recorded elsewhere, so that the directory stands alone.

        Raises:
            DraftproofError: The directory holds another run, or cannot be written.
        """
        given = [list(arm) for arm in arms]
        wanted = {"recorded": name, "answers": digest([[asdict(c) for c in arm] for arm in given])}
        manifest = self.manifest()
        if manifest and manifest != wanted:
            raise DraftproofError(f"{self.path}: holds another run; name a new directory")
        self.write_manifest(wanted)
        for arm in given:
            log = self.log(arm[0].arm)
            known = log.read()
            for completion in arm:
                if completion.id not in known:
                    log.append(completion)

"""One arm's answers on disk: a JSON line each, appended whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from draftproof.files import unwritable, write_whole
from draftproof.records import Completion, DraftproofError

_COMPLETION = TypeAdapter(Completion)


class AnswerLog:
    """The file of one arm's answers.

    Args:
        path: Made with the first answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def close(self) -> None:
        """Close the file; the next answer opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> dict[str, Completion]:
        """Return the answers by prompt id, in the order they were given.

        A last line without its end is cut off the file. A second answer to the same prompt is
        never written, and the first one counts should the file hold two.

        Raises:
            DraftproofError: A whole line cannot be read, with its number.
        """
        if not self.path.exists():
            return {}
        whole = self.path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with self.path.open("r+b") as file:
                file.truncate(end)
        found: dict[str, Completion] = {}
        for number, line in enumerate(whole[:end].splitlines(), start=1):
            try:
                completion = _COMPLETION.validate_json(line)
            except ValidationError as error:
                raise DraftproofError(
                    f"{self.path}:{number}: not an answer: {error.errors()[0]['msg']}; "
                    "delete the line and run the same command again"
                ) from error
            found.setdefault(completion.id, completion)
        return found

    def drop_errors(self) -> int:
        """Take the answers that failed out of the file, and return how many there were.

        Raises:
            DraftproofError: The file cannot be read or written; then it is unchanged.
        """
        given = self.read()
        kept = [c for c in given.values() if c.finish_reason != "error"]
        if len(kept) < len(given):
            self.close()
            write_whole(self.path, b"".join(map(_line, kept)))
        return len(given) - len(kept)

    def append(self, completion: Completion) -> Completion:
        """Add an answer; it survives the death of this process from the moment this returns.

        Returns:
            The answer as it will be read back: half a surrogate pair, which is no text, becomes
            a question mark.

        Raises:
            DraftproofError: The disk is full or the file cannot be written.
        """
        text = completion.text.encode("utf-8", "replace").decode("utf-8")
        completion = replace(completion, text=text)
        data = _line(completion)
        try:
            if self._file is None:
                # unbuffered: one line, one write
                self._file = self.path.open("ab", buffering=0)
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise unwritable(self.path, error) from error
        return completion


def _line(completion: Completion) -> bytes:
    record = {k: v for k, v in asdict(completion).items() if v is not None}
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"

"""Faults at named places of a command: where a file is written, a server stops, an arm ends."""

import errno
import os
import signal
import sys
from pathlib import Path

from draftproof.runs import blocks, parts
from draftproof.runs.answers import AnswerLog
from draftproof.stacks.http.server import Server

_WRITING = os.O_WRONLY | os.O_RDWR
_WATCHED = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}
DISK = ("open", "rename", "mkdir", "fsync", "answer")
"""Kinds of places at which a disk can be full."""


class Faults:
    """Counts the places that a command comes by, and does something at one of them.

    Args:
        folder: The run; files elsewhere do not count.
        action: ``none``, ``kill`` (-9), ``interrupt`` (Ctrl-C) or ``full`` (no space from
            there on).
        at: Number of the place, from 0 on.
        begun: Called at the first place.
    """

    def __init__(self, folder, action="none", at=-1, begun=lambda: None):
        self.folder, self.action, self.at, self.begun = str(folder), action, at, begun
        self.places = []
        self.full = False

    def come_by(self, kind, name):
        if not self.places:
            self.begun()
        self.places.append(f"{kind} {name}")
        if len(self.places) - 1 == self.at:
            if self.action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.action == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            self.full = self.action == "full"
        if self.full and kind in DISK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self):
        """Watch from now on, for the rest of this process's life."""
        sys.addaudithook(self._heard)
        fsync, append, stop = os.fsync, AnswerLog.append, Server.stop
        end, record_ended = parts.RunningPart.end, blocks.record_ended

        def watched_fsync(descriptor):
            self.come_by("fsync", "a file")
            fsync(descriptor)

        def watched_append(log, completion):
            name = f"{completion.arm}/{completion.id}"
            try:
                self.come_by("answer", f"begins {name}")
            except OSError:
                log._file = _Full(log.path)
            added = append(log, completion)
            if self.at == len(self.places) and self.action == "kill":
                # torn: all but the end of the line is on the disk
                os.truncate(log.path, log.path.stat().st_size - 7)
            self.come_by("torn", name)
            self.come_by("answered", name)
            return added

        def watched_stop(server):
            self.come_by("server", f"stops {server.arm}")
            stop(server)
            self.come_by("server", f"stopped {server.arm}")

        def watched_end(part, *arguments):
            self.come_by("arm", f"ends {part.record.arm}")
            ended = end(part, *arguments)
            self.come_by("arm", f"ended {part.record.arm}")
            return ended

        def watched_record(*arguments):
            self.come_by("arm", "is recorded")
            record_ended(*arguments)
            self.come_by("arm", "was recorded")

        os.fsync, AnswerLog.append, Server.stop = watched_fsync, watched_append, watched_stop
        parts.RunningPart.end, blocks.record_ended = watched_end, watched_record
        sys.modules["draftproof.runs.collect"].record_ended = watched_record

    def _heard(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writes = (mode and set(mode) & set("wax+")) or (flags or 0) & _WRITING
            kind = "open" if writes else None
        else:
            kind, path = _WATCHED.get(event), arguments[0] if arguments else None
        if kind and isinstance(path, str | Path) and str(path).startswith(self.folder):
            self.come_by(kind, os.path.relpath(str(path), self.folder))


class _Full:
    """A file on a full disk: half of what is written still fits."""

    def __init__(self, path):
        self._path = path

    def write(self, data):
        with open(self._path, "ab", buffering=0) as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self):
        pass

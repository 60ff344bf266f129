"""Kill runs and go on with them: ``python -m tests.kills --random 200 --aimed 40``.

Every run is a child of this process, which has imported everything already. It is killed (-9) or
interrupted at a random moment, or gets killed, interrupted or a full disk at a place where a file
is written, a server stops or an arm ends. Then the same command runs undisturbed. Its verdict must
be that of a run that was never disturbed, every answer must be there once, those that were there
must be as they were, and nothing half-written may be left.
"""

import argparse
import contextlib
import faulthandler
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.kills.faults import DISK, Faults
from tests.kills.scenarios import SCENARIOS, STUB, essence

import draftproof.report
import draftproof.runs.verify
import draftproof.screen.run
import draftproof.stacks.http.engine
import draftproof.stacks.local
from draftproof.cli import main

_PATIENCE = 100
"""Seconds until a command that does not end says where it is, ten before it is killed."""


def child(command, log, folder, action="none", at=-1, pipe=None):
    """Start a command in a child process and return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.dump_traceback_later(_PATIENCE - 10, file=2)
        faults = Faults(folder, action, at, lambda: pipe and os.write(pipe, b"b"))
        faults.install()
        try:
            main(command, prog_name="draftproof", standalone_mode=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        if pipe:
            os.write(pipe, ("\n" + "\n".join(faults.places)).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def ended(pid, log, seconds=_PATIENCE):
    """Wait for a child; return its exit status, negative for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"no end after {seconds:g} s: {Path(log).read_text()[-6000:]}")


class Bench:
    """One scenario: its undisturbed verdict, its places and its duration."""

    def __init__(self, name, folder, servers):
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        self.command = SCENARIOS[name](self.folder, servers)
        self.totals = name in {"urls", "blocks", "started"}
        place = self.folder / "undisturbed"
        read, write = os.pipe()
        begun = time.monotonic()
        pid = child(self._into(place), self.folder / "undisturbed.txt", place, pipe=write)
        os.close(write)
        with os.fdopen(read) as pipe:
            self.places = pipe.read().splitlines()[1:]
        self.code = ended(pid, self.folder / "undisturbed.txt")
        self.seconds = time.monotonic() - begun
        assert (place / "verdict.json").exists(), (self.folder / "undisturbed.txt").read_text()
        self.verdict = self._verdict(place)
        self.answers = self._answers(place)
        print(f"{name}: {len(self.places)} places, {self.seconds:.1f} s, exit {self.code}")

    def _into(self, place):
        return [*self.command, "--out", str(place)]

    def _verdict(self, place):
        document = json.loads((place / "verdict.json").read_text())
        document.get("environment", {}).pop("arms", None)
        return essence(document, totals=self.totals)

    def _answers(self, place):
        """Return the whole lines of every arm's file, without what a clock or request says."""
        found = {}
        for file in sorted(place.glob("answers/*.jsonl")):
            text = file.read_text()
            lines = text[: text.rfind("\n") + 1].splitlines()
            found[file.stem] = [json.loads(line) for line in lines]
        return found

    def aimed(self, action, at, number):
        place = self.folder / f"aimed-{number}"
        log = place.with_suffix(".txt")
        code = ended(child(self._into(place), log, place, action, at), log)
        expected = {"kill": {-9}, "interrupt": {130, self.code}, "full": {2, self.code}}[action]
        assert code in expected, f"exit {code}, not {expected}: {log.read_text()[-2000:]}"
        if action == "full" and code == 2:
            assert "the disk is full" in log.read_text(), log.read_text()[-2000:]
        self._goes_on(place, log)

    def at_random(self, rng, number):
        place = self.folder / f"random-{number}"
        log = place.with_suffix(".txt")
        for _ in range(rng.choice((1, 1, 2, 3))):
            read, write = os.pipe()
            pid = child(self._into(place), log, place, pipe=write)
            os.close(write)
            select.select([read], [], [], 60)
            time.sleep(rng.random() * self.seconds)
            os.kill(pid, rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT)))
            code = ended(pid, log)
            os.close(read)
            assert code in {-9, 130, self.code}, f"exit {code}: {log.read_text()[-2000:]}"
        self._goes_on(place, log)

    def _goes_on(self, place, log):
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
        before = self._answers(place)
        code = ended(child(self._into(place), log, place), log)
        text = log.read_text()[-3000:]
        assert code == self.code, f"went on with exit {code}, not {self.code}: {text}"
        after = self._answers(place)
        for arm, kept in before.items():
            assert after[arm][: len(kept)] == kept, f"{arm}: answers that were there changed"
        for arm, wanted in self.answers.items():
            ids = [one["id"] for one in after[arm]]
            assert sorted(ids) == sorted(one["id"] for one in wanted), f"{arm}: {ids}"
            texts = {one["id"]: one["text"] for one in after[arm]}
            assert texts == {one["id"]: one["text"] for one in wanted}, arm
        assert self._verdict(place) == self.verdict, self._difference(place)
        left = [p.name for p in place.rglob("*") if p.name.endswith((".part", ".begun.json"))]
        assert not left, left
        found = draftproof.runs.verify.verify(place).findings
        assert not found, found
        shutil.rmtree(place)
        log.unlink()

    def _difference(self, place):
        def flat(value, name=""):
            if isinstance(value, dict):
                return {
                    k: v for n, one in value.items() for k, v in flat(one, f"{name}.{n}").items()
                }
            return {name: value}

        one, two = flat(self.verdict), flat(self._verdict(place))
        return {k: (one.get(k), two.get(k)) for k in one | two if one.get(k) != two.get(k)}


@contextlib.contextmanager
def stubs():
    servers = [
        subprocess.Popen([sys.executable, STUB, "0", *more], stdout=subprocess.PIPE, text=True)
        for more in ([], ["totals"])
    ]
    try:
        yield [f"http://127.0.0.1:{server.stdout.readline().strip()}" for server in servers]
    finally:
        for server in servers:
            server.kill()
            server.wait()


def aims(bench, count, rng):
    """Return actions and places, spread over the places of every kind."""
    kinds = {}
    for at, place in enumerate(bench.places):
        kinds.setdefault(place.rsplit(" ", 1)[0].split(" ")[0], []).append(at)
    chosen = []
    while len(chosen) < count:
        for kind, places in sorted(kinds.items()):
            actions = ("kill", "interrupt", "full") if kind in DISK else ("kill", "interrupt")
            chosen.append((actions[len(chosen) % len(actions)], rng.choice(places)))
    rng.shuffle(chosen)
    return chosen[:count]


def run(options):
    rng = random.Random(options.seed)
    faults = done = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, stubs() as servers:
        benches = [Bench(name, Path(folder), servers) for name in options.scenario]
        work = []
        for number in range(options.random):
            bench = benches[number % len(benches)]
            work.append((f"{bench.name} random {number}", bench.at_random, (rng, number)))
        for n, bench in enumerate(benches):
            share = len(range(n, options.aimed, len(benches)))
            for number, (action, at) in enumerate(aims(bench, share, rng)):
                name = f"{bench.name} {action} at {bench.places[at]} ({at})"
                work.append((name, bench.aimed, (action, at, number)))
        for name, do, arguments in work:
            try:
                do(*arguments)
            except AssertionError as error:
                faults += 1
                print(f"{name}: {error}", flush=True)
            done += 1
            if done % 20 == 0:
                print(f"{done} of {len(work)}, {faults} faults", flush=True)
    print(f"{done} runs disturbed and gone on with, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--random", type=int, default=200)
    parser.add_argument("--aimed", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--folder", help="where the runs lie (default: the temporary folder)")
    sys.exit(run(parser.parse_args()))

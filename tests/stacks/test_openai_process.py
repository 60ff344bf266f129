"""Servers that draftproof starts: ready, refused, and gone with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from draftproof.records import DraftproofError, Message, Prompt, ProofState
from draftproof.stacks import ArmSpec
from draftproof.stacks.http.engine import OpenAIEngine
from draftproof.stacks.http.server import Server

SCRIPT = Path(__file__).with_name("faulty_server.py")
# a server with a child that leaves its process group, as engine workers do
FAMILY = f"""
import subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
Path(sys.argv[2]).write_text(str(child.pid))
subprocess.run([sys.executable, {str(SCRIPT)!r}, sys.argv[1], "0", "0"])
"""


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone_within(seconds, pids):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def descendants(pid):
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found += [child, *descendants(child)]
    return found


@pytest.fixture
def family(tmp_path):
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    return f"{sys.executable} {script} {{port}} {tmp_path / 'pid'}"


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux
def test_stop_ends_the_server_and_all_that_it_started(tmp_path, family):
    server = Server("a", family, None, tmp_path)
    server.wait_until_ready(30)
    own = [server._watchdog.pid, *descendants(server._watchdog.pid)]
    assert len(own) == 4
    assert int((tmp_path / "pid").read_text()) in own
    server.stop()
    assert gone_within(5, own)
    server.stop()


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_does_not_outlive_a_parent_that_is_killed(tmp_path, family, number):
    code = (
        "import sys, time; from pathlib import Path;"
        "from draftproof.stacks.http.server import Server;"
        "s = Server('a', sys.argv[1], None, Path(sys.argv[2])); s.wait_until_ready(30);"
        "print(s._watchdog.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, family, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        watchdog = int(parent.stdout.readline())
        own = [watchdog, *descendants(watchdog)]
        assert len(own) == 4
        parent.send_signal(number)
        parent.wait(10)
        assert gone_within(10, own)
    finally:
        parent.kill()
        parent.wait()


@linux
def test_a_server_does_not_outlive_its_watchdog(tmp_path):
    command = f"{sys.executable} {SCRIPT} {{port}} 0 0"
    server = Server("a", command, None, tmp_path)
    server.wait_until_ready(30)
    own = descendants(server._watchdog.pid)
    assert own
    os.kill(server._watchdog.pid, signal.SIGKILL)
    assert gone_within(5, own)
    server._watchdog.wait(5)
    with pytest.raises(DraftproofError, match="status -9"):
        server.check()


def test_a_server_that_ends_at_once_is_an_error_with_its_log(tmp_path):
    text = "import sys; print('no such model: x'); sys.exit(3)"
    server = Server("a", f'{sys.executable} -c "{text}" {{port}}', None, tmp_path)
    with pytest.raises(DraftproofError, match="status 3") as caught:
        server.wait_until_ready(30)
    assert "no such model: x" in str(caught.value)
    assert "no such model" in (tmp_path / "a.log").read_text()


def test_a_server_that_never_gets_ready_is_stopped(tmp_path):
    text = "print('loading', flush=True); import time; time.sleep(600)"
    server = Server("a", f'{sys.executable} -c "{text}" {{port}}', None, tmp_path)
    with pytest.raises(DraftproofError, match="not ready after") as caught:
        server.wait_until_ready(1.0)
    assert "loading" in str(caught.value)
    server.stop()
    assert server._watchdog.poll() is not None


def test_a_command_that_is_not_there_is_an_error(tmp_path):
    server = Server("a", "no-such-program --port {port}", None, tmp_path)
    with pytest.raises(DraftproofError, match="status 127") as caught:
        server.wait_until_ready(30)
    assert "no-such-program" in str(caught.value)


@pytest.mark.parametrize("command", ["", "unbalanced 'quote"])
def test_a_command_that_cannot_be_read_is_an_error(tmp_path, command):
    with pytest.raises(DraftproofError, match="serve"):
        Server("a", command, None, tmp_path)


def test_a_server_that_is_started_again_counts_on(tmp_path):
    script = Path(__file__).with_name("faulty_server.py")
    serve = f"{sys.executable} {script} {{port}} 0 0"
    arm = ArmSpec(name="arm", role="candidate", engine="openai", serve=serve, ready_timeout=30)
    asked = [Prompt(id=f"r{n}", task="t", messages=(Message("user", f"r{n}"),)) for n in range(5)]
    engine = OpenAIEngine(arm, tmp_path)
    for _ in range(2):
        engine.open(asked)
        # canaries are asked outside of what is counted, and again before the server is stopped
        assert len(engine.canaries()) == 8
        list(engine.answer(asked))
        assert len(engine.canaries()) == 8
    proof = engine.proof()
    engine.close()
    assert proof.state is ProofState.COUNTED
    assert proof.counters.drafted == 2 * 5 * 12

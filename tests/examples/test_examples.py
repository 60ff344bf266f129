"""Every file of examples/ runs as its first lines say."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAIR = ("--target", "lab:target", "--draft", "lab:draft")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
}


def python(*arguments, folder):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=ENVIRONMENT,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def draftproof(*arguments, folder):
    return python("-m", "draftproof", *arguments, folder=folder)


def test_two_logs_are_compared(tmp_path):
    done = python(EXAMPLES / "compare_two_logs.py", folder=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("FAIL: ")
    assert "regressions: 20, improvements: 0" in done.stdout


def test_two_logs_may_be_named(tmp_path):
    log = tmp_path / "a.jsonl"
    rows = [{"id": str(n), "text": f"No. {n}", "label": "refusal"} for n in range(120)]
    log.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "b.jsonl").write_text(log.read_text("utf-8"), "utf-8")
    done = python(EXAMPLES / "compare_two_logs.py", log, tmp_path / "b.jsonl", folder=tmp_path)
    assert "answers: 120, identical: 120\nregressions: 0, improvements: 0" in done.stdout
    missing = python(EXAMPLES / "compare_two_logs.py", log, tmp_path / "none", folder=tmp_path)
    assert missing.returncode == 2
    assert "none" in missing.stderr


def test_labels_of_ones_own(tmp_path):
    done = python(EXAMPLES / "own_scorer.py", folder=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "FAIL" in done.stdout
    assert "15 / 0" in done.stdout


@pytest.mark.slow
def test_a_battery_of_ones_own(tmp_path):
    battery = EXAMPLES / "own_battery.yaml"
    checked = draftproof("battery", "check", battery, "--json", folder=tmp_path)
    assert checked.returncode == 5, checked.stderr
    pytest.importorskip("torch")
    screened = draftproof(
        "screen", "--target", "lab:target", "--draft", "lab:draft", "--battery", battery,
        "--max-new-tokens", "16", "--no-control", "--json", folder=tmp_path,
    )  # fmt: skip
    assert screened.returncode == 5, screened.stderr
    counts = json.loads(screened.stdout)["candidates"][0]["counts"]
    assert (counts["n"], counts["identical"]) == (8, 8)


@pytest.mark.slow
def test_the_decoder(tmp_path):
    pytest.importorskip("torch")
    done = python(EXAMPLES / "decoder.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "same tokens as plain decoding: True" in done.stdout


@contextmanager
def served(folder, *options):
    """Start one of our servers on a free port of this machine and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / f"{port}.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "draftproof", "serve", *options, "--port", str(port)],
            env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, (folder / f"{port}.log").read_text("utf-8")
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_two_servers_are_screened(tmp_path):
    for library in ("torch", "httpx", "starlette", "uvicorn"):
        pytest.importorskip(library)
    with (
        served(tmp_path, "--target", "lab:target") as plain,
        served(tmp_path, *PAIR) as speculative,
        served(tmp_path, *PAIR, "--rule", "typical") as lossy,
    ):
        plan = (EXAMPLES / "screen_two_urls.yaml").read_text("utf-8")
        # what the comments offer works as well: a control, and a target that is asked
        for comment, line in (
            ("# - {name: lossy,", "- {name: lossy,"),
            ("# target: ./models/target", "target: lab:target"),
            ("max_new_tokens: 128", "max_new_tokens: 64"),
        ):
            assert comment in plan
            plan = plan.replace(comment, line)
        for shown, real in ((":8001", plain), (":8002", speculative), (":8003", lossy)):
            assert f"http://127.0.0.1{shown}" in plan
            plan = plan.replace(f'"http://127.0.0.1{shown}"', f'"{real}"')
        (tmp_path / "plan.yaml").write_text(plan, "utf-8")
        done = draftproof("screen", "plan.yaml", "--limit", "5", "--json", folder=tmp_path)
    # thirty prompts are too few for a PASS; what can be seen is that the servers agree
    assert done.returncode == 5, done.stderr
    (candidate,) = json.loads(done.stdout)["candidates"]
    assert 0 < candidate["activation"]["accepted"] <= candidate["activation"]["drafted"]
    assert candidate["counts"]["identical"] == candidate["counts"]["n"] == 30
    (control,) = json.loads(done.stdout)["controls"]
    assert control["state"] == "FAIL"
    assert control["counts"]["divergences"]["leak"] > 0


def test_nothing_lies_in_examples_without_a_test():
    mentioned = Path(__file__).read_text("utf-8")
    for file in EXAMPLES.iterdir():
        if file.suffix in {".py", ".yaml"}:
            assert file.name in mentioned

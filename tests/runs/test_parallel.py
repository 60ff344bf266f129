"""Workers: every call once, in any process; what fails there is raised here."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from draftproof.battery import load_battery
from draftproof.records import DraftproofError
from draftproof.runs import Plan, RunDirectory, collect
from draftproof.runs.collect import _parts
from draftproof.runs.parallel import Call, Workers


def square(number, tell):
    tell(number)
    return number * number, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def slow_square(number, tell):
    time.sleep(0.05)
    return square(number, tell)


def refuse(number, tell):
    time.sleep(0.02 * number)
    if number == 3:
        raise DraftproofError("three is refused")
    return number


def refuse_elsewhere(parent, tell):
    if os.getpid() != parent:
        raise DraftproofError("not in a worker")
    for _ in range(1000):
        time.sleep(0.01)
        tell(0)


def die_elsewhere(parent, tell):
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)


def break_here(parent, tell):
    if os.getpid() == parent:
        time.sleep(0.2)
        raise ZeroDivisionError
    time.sleep(60)


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_call_is_done_once_and_told_of(jobs):
    with Workers(jobs) as workers:
        for function, count in ((slow_square, 40), (square, 3), (square, 0)):
            found = workers.spread("squares", function, [(n,) for n in range(count)])
            assert [value for value, _, _ in found] == [n * n for n in range(count)]
            if function is slow_square:
                assert len({process for _, process, _ in found}) == jobs
        heard = []
        done = []
        calls = [(n,) for n in range(9)]
        assert workers.spread("squares", square, calls)[8][0] == 64
        workers.do(
            [Call("one", square, own) for own in calls],
            on_progress=lambda number, news: heard.append((number, news)),
            on_result=lambda number, result: done.append(number),
        )
        assert sorted(heard) == [(n, n) for n in range(9)]
        assert sorted(done) == list(range(9))


def test_cores_are_shared_and_given_back():
    before = os.environ.get("OMP_NUM_THREADS")
    with Workers(2) as workers:
        found = workers.spread("squares", slow_square, [(n,) for n in range(8)])
    each = str(max(1, (os.cpu_count() or 1) // 2))
    assert {threads for _, _, threads in found} == {each}
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_refusal_stops_the_rest(jobs):
    with Workers(jobs) as workers, pytest.raises(DraftproofError, match="three is refused"):
        workers.spread("refusals", refuse, [(n,) for n in range(50)])


def test_a_worker_s_refusal_is_heard_while_this_process_is_busy():
    start = time.monotonic()
    with Workers(2) as workers, pytest.raises(DraftproofError, match="not in a worker"):
        workers.spread("refusals", refuse_elsewhere, [(os.getpid(),)] * 2)
    assert time.monotonic() - start < 8


def test_a_worker_that_is_killed_is_named_with_the_mend():
    with (
        Workers(2) as workers,
        pytest.raises(DraftproofError, match="deaths: the worker process exited"),
    ):
        workers.spread("deaths", die_elsewhere, [(os.getpid(),)] * 40)


def test_a_worker_that_was_killed_while_idle_is_named_too():
    with Workers(2) as workers:
        (worker,) = workers._workers.values()
        worker.kill()
        worker.join()
        with pytest.raises(
            DraftproofError, match=r"squares: the worker process exited .*exit code -9"
        ):
            workers.spread("squares", slow_square, [(n,) for n in range(4)])


def break_elsewhere(parent, kind, tell):
    if os.getpid() != parent:
        if kind == "lambda":
            return lambda: None
        raise EOFError("the checkpoint is cut off")
    time.sleep(0.05)
    return None


@pytest.mark.parametrize(
    ("kind", "said"), [("eof", "EOFError: the checkpoint"), ("lambda", "pickle")]
)
def test_a_defect_in_a_worker_is_told_as_it_is(kind, said):
    with Workers(2) as workers, pytest.raises(RuntimeError, match=f"(?s)breaks: .*{said}"):
        workers.spread("breaks", break_elsewhere, [(os.getpid(), kind)] * 200)


def test_an_error_here_stops_the_workers():
    start = time.monotonic()
    with Workers(2) as workers, pytest.raises(ZeroDivisionError):
        workers.spread("breaks", break_here, [(os.getpid(),)] * 2)
    assert time.monotonic() - start < 20


def test_idle_workers_die_with_a_parent_that_is_killed():
    code = (
        "import time\nfrom draftproof.runs.parallel import Workers\n"
        "if __name__ == '__main__':\n"
        "    w = Workers(2).__enter__()\n"
        "    print(next(iter(w._workers.values())).pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text("ascii").split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlived its parent")


def test_only_our_own_decoder_s_arms_are_divided():
    prompts = load_battery("lab-core").half("quick").prompts

    def parts(engine, count, jobs):
        spec = Plan.model_validate({
            "target": "T", "engine": engine,
            "arms": [{"name": "t", "role": "baseline"},
                     {"name": "d", "role": "candidate", "draft": "D"}],
        }).arms[0]  # fmt: skip
        return _parts(spec, prompts[:count], jobs)

    for count, jobs, sizes in ((100, 2, [50, 50]), (101, 3, [34, 34, 33]), (63, 2, [63]),
                               (64, 2, [32, 32]), (5, 1, [5]), (0, 2, [])):  # fmt: skip
        found = parts("local", count, jobs)
        assert [len(part) for part in found] == sizes
        assert {p.id for part in found for p in part} == {p.id for p in prompts[:count]}
    assert [len(part) for part in parts("transformers", 100, 2)] == [100]


@pytest.mark.slow
def test_an_arm_answered_in_parts_says_what_it_says_in_one(tmp_path):
    plan = Plan.model_validate({
        "target": "lab:target", "max_new_tokens": 6, "half": "quick", "limit": 12, "batch": 8,
        "arms": [{"name": "t", "role": "baseline"},
                 {"name": "d", "role": "candidate", "draft": "lab:draft"}],
    })  # fmt: skip
    battery = plan.load_battery()
    given = []
    for jobs in (1, 2):
        with RunDirectory(tmp_path / str(jobs)) as run, Workers(jobs) as workers:
            answers = collect(plan, battery, run, workers=workers)
            assert all(c.answered_at for arm in answers.values() for c in arm.values())
            given.append({
                arm: {id_: replace(c, answered_at=None) for id_, c in one.items()}
                for arm, one in answers.items()
            })  # fmt: skip
            arms = run.manifest()["arms"]
        assert {arm["generated"] for arm in arms.values()} == {len(battery.prompts)}
    assert given[0] == given[1]

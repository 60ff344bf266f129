"""The recipes of stacks: plans that hold, scripts that parse, controls that lint knows."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from draftproof.battery import load_battery
from draftproof.lint.lint import lint_path
from draftproof.records import Role
from draftproof.runs.plan import read_plan
from draftproof.stacks import ArmSpec, make_engine

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "recipes").glob("*/*.yaml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_plan_holds_and_has_noise_and_a_control(path):
    plan = read_plan(path)
    roles = [arm.role for arm in plan.arms]
    assert {Role.NOISE, Role.CANDIDATE, Role.CONTROL} <= set(roles)
    assert plan.name == f"{path.parent.name}-{path.stem}"
    for arm in plan.arms:
        known = {arm.dtype, "weak", "sampled", "eagle3", "eagle3-f16", "smollm2"}
        assert path.stem.removeprefix("inprocess-") in known
        assert arm.speculative == (arm.role in {Role.CANDIDATE, Role.CONTROL})
        assert arm.target
    assert len({arm.concurrency for arm in plan.arms}) == 1


@pytest.mark.parametrize("path", PLANS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_lint_finds_no_candidate_lossy_and_every_lossy_control(path):
    by_name = {one.subject.name: one for one in lint_path(path)}
    for arm in read_plan(path).arms:
        (one,) = [o for name, o in by_name.items() if name.endswith(arm.name)]
        if arm.role is Role.CANDIDATE:
            assert one.promise == ("L1" if arm.temperature else "L2"), arm.name
        if arm.name in {"synthetic", "ensemble"}:
            assert one.promise == "L0"
            assert not one.lossy, "a control is meant to be"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.sh")), ids=lambda p: p.name)
def test_scripts_parse(path):
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run.sh"], 2, "recipes/run.sh STACK"),
        (["run.sh", "--help"], 0, "5 INCONCLUSIVE"),
        (["run.sh", "openvino", "float64"], 2, "openvino has no plan float64; it has: bfloat16"),
        (["make.sh"], 2, "name one of: llama.cpp openvino"),
        (["make.sh", "nothing"], 2, "there is no stack nothing; name one of: llama.cpp"),
        (["run.sh", "nothing", "--limit", "2"], 2, "there is no stack nothing"),
    ],
)
def test_scripts_say_what_they_want(arguments, code, said, tmp_path):
    name, *rest = arguments
    file = ROOT / "recipes" / name
    assert os.access(file, os.X_OK), "it is called by its name"
    done = subprocess.run(
        [file, *rest],
        env=os.environ | {"DRAFTPROOF_STACKS": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


KEYS = {
    "stack", "version", "method", "dtype", "concurrency", "identity", "noise_identity", "ties",
    "leaks", "faults", "verdict", "drafted", "accepted", "speed_ratio",
}  # fmt: skip


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def verdict():
    arms = [{"name": n, "tokens": 1000, "seconds": s} for n, s in (("plain", 10), ("draft", 4))]
    candidate = {
        "name": "draft", "role": "candidate", "state": "PASS", "expected": True,
        "identity": {"n": 200, "identical": 198},
        "tasks": [{"gated": True, "state": "PASS"}, {"gated": False}],
        "counts": {"n": 200, "divergences": {"tie": 2}, "flips": {"loss": 1}},
        "activation": {"proven": True, "drafted": 40, "accepted": 30},
    }  # fmt: skip
    return {
        "arms": arms, "baseline": "plain", "candidates": [candidate], "controls": [],
        "noise": [{"identity": {"n": 200, "identical": 199}}],
        "plan": {"arms": [{"name": "plain"}, {"name": "draft", "dtype": "bfloat16"}]},
        "environment": {"arms": {"draft": {"version": "0.32.0"}}},
    }  # fmt: skip


def test_the_table_is_made_of_verdicts(verdict):
    bench = benchmark("stacks")
    (row,) = bench.rows("vllm", "bfloat16", 8, verdict)
    assert row.keys() >= KEYS
    assert row["identity"] == 0.99
    assert row["noise_identity"] == 0.995
    assert (row["ties"], row["leaks"], row["faults"], row["lost"]) == (2, 0, 0, 1)
    assert (row["version"], row["dtype"], row["concurrency"]) == ("0.32.0", "bfloat16", 8)
    assert (row["speed_ratio"], row["verdict"], row["drafted"]) == (2.5, "PASS", 40)
    assert (row["equivalent_tasks"], row["gated_tasks"]) == (1, 1)
    table = bench.markdown([row]).splitlines()
    assert len({line.count(" | ") for line in (table[0], table[2])}) == 1
    assert table[2].endswith("| (2.5×) |")


def test_speeds_taken_in_turns_come_first(verdict):
    bench = benchmark("stacks")
    taken = {"draft": {"ratio": 1.9, "from": 1.7, "to": 2.2}}
    (row,) = bench.rows("llama.cpp", "weak", 1, verdict, taken)
    assert (row["speed_ratio"], row["speed_range"]) == (1.9, [1.7, 2.2])
    last = bench.markdown([row]).splitlines()[2]
    assert last.startswith("| llama.cpp (weak pair) |")
    assert last.endswith("| 1.9× (1.7 to 2.2) |")


def test_the_printed_list_has_the_declared_keys(verdict, tmp_path, monkeypatch, capsys):
    bench = benchmark("stacks")
    monkeypatch.setattr(bench, "PLACE", tmp_path)
    run = bench.run_directory("openvino", "float32", 1, None)
    run.mkdir(parents=True)
    record = {"draft": {"openvino_genai": "2026.4"}}
    arms = [{**arm, "answers": 5} for arm in verdict["arms"]]
    document = {**verdict, "environment": {"arms": record}, "arms": arms}
    (run / "verdict.json").write_text(json.dumps(document))
    monkeypatch.setattr(sys, "argv", ["stacks.py", "--collect", "--json", "--stack", "openvino"])
    timed = {arm["name"]: {"generated": 5} for arm in arms}
    for manifest, known in ((timed, True), ({**timed, "draft": {"generated": 1}}, False)):
        (run / "manifest.json").write_text(json.dumps({"arms": manifest}))
        bench.main()
        (row,) = json.loads(capsys.readouterr().out)
        assert row.keys() >= KEYS
        assert (row["stack"], row["version"]) == ("openvino", "2026.4")
        # of an arm that was killed, the seconds of the last part alone are known
        assert (row["speed_ratio"] is not None) == known


def test_a_speed_is_the_median_of_neighbouring_turns():
    bench = benchmark("stacks_speed")
    prompts = load_battery("lab-core").half("quick").limit(1).prompts[:3]
    plain = ArmSpec(
        name="plain", role="baseline", engine="transformers", target="lab:target", max_new_tokens=8
    )
    both = []
    for arm in (plain, plain.model_copy(update={"name": "draft", "draft": "lab:draft"})):
        both.append((make_engine(arm), arm))
        both[-1][0].open(prompts)
    middle, least, most = bench.ratios(*both, prompts, 3)
    assert 0 < least <= middle <= most

"""Everything that a plan names is looked at before the first token, and all faults are told."""

import json
import time

import pytest
import torch
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.decoding import SpeculativeDecoder
from draftproof.decoding.loading import room
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError
from draftproof.runs import RunDirectory, read_plan
from draftproof.screen import run as screen_run
from draftproof.screen.run import run_plan

ARMS = """
target: lab:target
battery: {battery}
limit: 2
arms:
  - {{name: plain, role: baseline}}
"""
FAULTS = [
    (
        "drafter: early_exit, drafter_options: {layers: 9}",
        "arms[1].drafter_options.layers",
        "1 to 3",
    ),
    (
        "engine: transformers, drafter: early_exit, drafter_options: {layers: 9}",
        "arms[1].drafter_options.layers",
        "1 to 3",
    ),
    ("drafter: lookup, drafter_options: {foo: 1}", "arms[1].drafter_options.foo", "no option"),
    ("drafter: medusa", "arms[1].drafter_options.heads", "needs trained heads"),
    (
        "drafter: eagle, drafter_options: {heads: ./nowhere}",
        "arms[1].drafter_options.heads",
        "no heads",
    ),
    (
        "drafter: eagle, drafter_options: {heads: lab:eagle}, rule: block",
        "arms[1].rule",
        "judges chains",
    ),
    ("drafter: fortune, draft: lab:draft", "arms[1].drafter", "has no drafter 'fortune'"),
    ("draft: lab:draft, rule: nope", "arms[1].rule", "no rule is called 'nope'"),
    ("draft: lab:draft, rule_options: {bar: 1}", "arms[1].rule_options.bar", "no option 'bar'"),
    ("draft: ./nowhere", "arms[1].draft", "no such directory"),
    ("draft: not/there", "arms[1].draft", "the hub cannot be reached"),
    ("draft: lab:draft, processors: {foo: 1}", "arms[1].processors.foo", "'foo'"),
    ("draft: lab:draft, engine: mlx", "arms[1].engine", "pip install"),
    (
        "target: ./nowhere, drafter: prompt_lookup, engine: openvino",
        "arms[1].target",
        "openvino_model.xml",
    ),
    ("engine: openai, serve: 'no-such-server {port}'", "arms[1].serve", "'no-such-server'"),
    (
        "engine: openai, url: 'http://localhost', api_key_env: NOT_SET_HERE",
        "arms[1].api_key_env",
        "NOT_SET_HERE",
    ),
    ("draft: lab:draft, gamma: 99", "arms[1].gamma", "64"),
]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def written(folder, candidates, battery="lab-core"):
    file = folder / "plan.yaml"
    lines = [f"  - {{name: c{i}, role: candidate, {c}}}\n" for i, c in enumerate(candidates)]
    file.write_text(ARMS.format(battery=battery) + "".join(lines))
    return str(file)


def checked(place, *options):
    return CliRunner().invoke(main, ["plan", place, "--check", *options])


def test_a_plan_without_fault(tmp_path):
    done = checked(written(tmp_path, ["draft: lab:draft"]))
    assert done.exit_code == 0, done.output
    assert "everything that it names exists" in done.output


@pytest.mark.parametrize(("candidate", "place", "said"), FAULTS)
def test_a_fault_is_told_with_its_place(tmp_path, candidate, place, said):
    done = checked(written(tmp_path, [candidate]))
    assert done.exit_code == 2
    assert f": {place}: " in done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_all_faults_are_told_at_once_before_the_first_token(tmp_path):
    """Those of fields that do not fit, and those of what the other fields name."""
    plan = written(tmp_path, [c for c, _, _ in FAULTS], battery="[lab-core, nothere]")
    places = [p.replace("[1]", f"[{i}]") for i, (_, p, _) in enumerate(FAULTS, start=1)]
    for command in (["plan", plan, "--check"], ["screen", plan, "--out", str(tmp_path / "run")]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2
        assert f"{len(FAULTS) + 1} faults" in done.stderr
        assert all(f"  {place}: " in done.stderr for place in [*places, "battery[1]"])
    assert not list(tmp_path.glob("run/**/*.jsonl"))
    told = json.loads(checked(plan, "--json").stdout)["faults"]
    assert {f["field"] for f in told} == {*places, "battery[1]"}


def test_a_scorer_that_is_not_known_is_told(tmp_path):
    task = {"id": "a", "prompt": "Say yes.", "scorer": "nobody"}
    (tmp_path / "own.jsonl").write_text(json.dumps(task) + "\n")
    done = checked(written(tmp_path, ["draft: lab:draft"], battery="own.jsonl"))
    assert done.exit_code == 2
    assert "battery[0]" in done.stderr
    assert "nobody" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_screen_without_a_plan_names_its_options(tmp_path):
    given = ["--target", "lab:target", "--draft", "./nowhere", "--device", "cuda"]
    done = CliRunner().invoke(main, ["screen", *given, "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("error: --device: lab:target: no device 'cuda' can be used here")
    assert second.startswith("--draft: ./nowhere: there is no such directory; ")


def test_memory_that_is_not_there_is_told_and_may_be_overridden(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "bytes_available", lambda device: 10 * 2**20)
    plan = written(tmp_path, ["draft: lab:draft"])
    done = checked(plan)
    assert done.exit_code == 2
    assert "plan.yaml: arms: lab:draft, lab:target: needs about " in done.stderr
    with pytest.raises(
        DraftproofError, match=r"needs about 14\.\d MiB of memory on cpu, 10\.0 MiB"
    ):
        SpeculativeDecoder.from_pretrained(str(model_path("target")))
    monkeypatch.setenv(room.OVERRIDE, "1")
    assert checked(plan).exit_code == 0


def test_a_finished_run_needs_no_models(tmp_path, monkeypatch):
    """What is answered already is judged though the models are gone."""
    plan = read_plan(tmp_path / written(tmp_path, ["draft: lab:draft"]))
    with RunDirectory(tmp_path / "run") as run:
        first = run_plan(plan, run)
    asked = []
    monkeypatch.setattr(screen_run, "require_faultless", lambda *_, arms, **__: asked.extend(arms))
    with RunDirectory(tmp_path / "run") as run:
        assert run_plan(plan, run).state is first.state
    assert asked == []


def test_an_offline_hub_name_is_one_line_and_quick(capfd):
    begun = time.monotonic()
    with pytest.raises(DraftproofError, match="nothere/model: neither a directory nor in the hub"):
        SpeculativeDecoder.from_pretrained("nothere/model")
    assert time.monotonic() - begun < 3
    assert capfd.readouterr() == ("", "")

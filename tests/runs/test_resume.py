"""Going on with a run: whoever changed is told, nothing is mixed, errors are asked again."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from draftproof.cli import main
from draftproof.lab.models import model_path
from draftproof.records import Counters, Proof, ProofState
from draftproof.runs.identity import Known, canary_change
from stub_server import serving

QUESTIONS = 24
REPORTS = ("report.md", "report.html", "junit.xml")


def screen(folder, *options, code):
    place = folder / "R"
    command = ["screen", str(folder / "plan.yaml"), "--out", str(place), *options]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == code, done.output + done.stderr
    return done


def rejudge(folder, *options, code):
    done = CliRunner().invoke(main, ["rejudge", str(folder / "R"), *options])
    assert done.exit_code == code, done.output + done.stderr
    return done


def verdict(folder):
    return json.loads((folder / "R" / "verdict.json").read_text())


def manifest(folder):
    return json.loads((folder / "R" / "manifest.json").read_text())


def battery(folder):
    rows = [
        {"id": f"q{n}", "task": "t", "prompt": f"q{n} of this battery", "scorer": "refusal",
         "expect": "refusal"}
        for n in range(QUESTIONS)
    ]  # fmt: skip
    (folder / "battery.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def plan(folder, plain, drafted, *, noise=None, **shared):
    arms = [
        {"name": "plain", "role": "baseline", "url": plain.url, "speculates": False},
        {"name": "drafted", "role": "candidate", "url": drafted.url},
    ]
    if noise is not None:
        arms.append({"name": "again", "role": "noise", "url": noise.url, "speculates": False})
    battery(folder)
    document = {
        "name": "case", "battery": "battery.jsonl", "engine": "openai", "max_new_tokens": 16,
        "retries": 0, "backoff": 0, "arms": arms, **shared,
    }  # fmt: skip
    (folder / "plan.yaml").write_text(json.dumps(document))


@pytest.fixture
def pair(tmp_path):
    with serving() as plain, serving() as drafted:
        drafted.totals = True
        plan(tmp_path, plain, drafted)
        yield tmp_path, plain, drafted


def other(text):
    return f"quite another thing about {text}"


def test_a_server_that_was_swapped_behind_its_address_is_told_before_anything_is_asked(pair):
    folder, _, drafted = pair
    screen(folder, code=5)
    before = verdict(folder)
    drafted.says, drafted.asked = other, []
    done = screen(folder, code=2)
    assert not drafted.questions()
    for word in ("'drafted'", "8 of 8 canary prompts", "--fresh", "--accept-change"):
        assert word in done.stderr
    assert "'plain'" not in done.stderr
    assert verdict(folder) == before

    screen(folder, "--fresh", code=5)
    assert len(drafted.questions()) == QUESTIONS
    assert verdict(folder)["candidates"][0]["counts"]["identical"] == 0
    assert len(list((folder / "R" / "earlier").iterdir())) == 1
    screen(folder, code=5)


def test_an_accepted_change_cannot_be_hidden(pair):
    folder, _, drafted = pair
    screen(folder, code=5)
    drafted.says, drafted.asked = other, []
    done = screen(folder, "--accept-change", code=5)
    assert not drafted.questions()
    for again in (done, screen(folder, code=5), rejudge(folder, code=5)):
        assert "arm 'drafted' changed" in " ".join(again.output.split())
        found = verdict(folder)
        assert found["sentence"].endswith("changed while it was asked, and accepted: drafted")
        assert "8 of 8 canary prompts" in found["warnings"][0]
    for name in REPORTS:
        assert "--accept-change" in (folder / "R" / name).read_text()


@pytest.mark.parametrize(
    ("field", "value"),
    [("version", "2.0"), ("models", ["stub", "another"]), ("configuration", "fp_2")],
)
def test_what_a_server_says_of_itself_is_compared(pair, field, value):
    folder, _, drafted = pair
    drafted.configuration = "fp_1"
    shared = json.loads((folder / "plan.yaml").read_text()) | {"model": "stub"}
    (folder / "plan.yaml").write_text(json.dumps(shared))
    screen(folder, code=5)
    setattr(drafted, field, value)
    said = screen(folder, code=2).stderr
    assert "'drafted'" in said
    assert str(value if isinstance(value, str) else value[-1]) in said


def test_an_arm_that_changes_while_it_answers_is_told_at_its_end(pair):
    folder, _, drafted = pair

    def swapped_in_the_middle(text):
        return other(text) if len(drafted.questions()) > QUESTIONS // 2 else f"answer to {text}"

    drafted.says = swapped_in_the_middle
    assert "between its beginning and its end" in screen(folder, code=2).stderr
    # whoever runs the same command again is told again, though the server stays as it is now
    assert "between its beginning and its end" in screen(folder, code=2).stderr
    assert not (folder / "R" / "verdict.json").exists()
    screen(folder, "--fresh", code=5)


def test_canaries_are_no_proof_of_speculation(pair):
    folder, _, drafted = pair
    screen(folder, code=5)
    assert len(drafted.asked) == QUESTIONS + 3 * 8
    assert manifest(folder)["arms"]["drafted"]["counters"]["drafted"] == 12 * QUESTIONS
    assert verdict(folder)["candidates"][0]["activation"]["drafted"] == 12 * QUESTIONS


def test_answers_without_their_manifest_are_never_mixed(pair):
    folder, plain, drafted = pair
    screen(folder, code=5)
    (folder / "R" / "manifest.json").unlink()
    drafted.says = other
    done = screen(folder, code=2)
    assert "no manifest.json" in done.stderr
    assert "--fresh" in done.stderr
    assert not (folder / "R" / "manifest.json").exists()
    plain.asked, drafted.asked = [], []
    screen(folder, "--fresh", code=5)
    assert len(plain.questions()) == len(drafted.questions()) == QUESTIONS


def test_answers_without_their_manifest_are_accepted_with_a_word(pair):
    folder, _, _ = pair
    screen(folder, code=5)
    (folder / "R" / "manifest.json").unlink()
    screen(folder, "--accept-change", code=4)  # the counters were in the manifest
    assert "the manifest was missing" in verdict(folder)["warnings"][0]


def test_a_server_that_is_gone_leaves_a_finished_run_as_it_is(pair, caplog):
    folder, _, drafted = pair
    screen(folder, code=5)
    drafted.shutdown()
    drafted.server_close()
    screen(folder, code=5)
    assert f"cannot be asked: arm 'drafted': {drafted.url} cannot be reached" in caplog.text


def test_errors_are_listed_and_asked_again(pair):
    folder, _, drafted = pair
    drafted.fails = lambda text: (
        (400, f"no slot {len(text)} left") if text.startswith(("q1", "q2 ")) else None
    )
    done = screen(folder, code=4)
    drafted.asked = []
    screen(folder, code=4)
    assert not drafted.questions()
    (arm,) = (a for a in verdict(folder)["arms"] if a["name"] == "drafted")
    assert arm["failures"] == [{"text": "HTTP 400: no slot 18 left", "count": 12}]
    reports = [(folder / "R" / name).read_text() for name in REPORTS]
    for text in (done.output, *reports):
        assert "12 × HTTP 400: no slot 18 left" in " ".join(text.split())
    drafted.fails = lambda text: None
    screen(folder, "--retry-errors", code=5)
    assert len(drafted.questions()) == 12
    assert verdict(folder)["candidates"][0]["counts"]["identical"] == QUESTIONS


def test_a_loading_server_is_waited_for_with_a_word(pair, caplog):
    folder, _, drafted = pair
    drafted.loading = 2
    screen(folder, code=5)
    assert f"waiting for {drafted.url}" in caplog.text
    assert "Loading model" in caplog.text


@pytest.mark.parametrize("rejudged", [False, True])
def test_weights_that_were_swapped_at_their_path_are_told(tmp_path, rejudged):
    models = {}
    for name in ("target", "draft"):
        models[name] = tmp_path / name
        shutil.copytree(Path(model_path(name)), models[name])
    document = {
        "battery": "lab-core", "half": "quick", "limit": 1, "max_new_tokens": 8,
        "target": str(models["target"]),
        "arms": [{"name": "t", "role": "baseline"},
                 {"name": "d", "role": "candidate", "draft": str(models["draft"])}],
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(json.dumps(document))
    screen(tmp_path, code=5)
    (file,) = models["draft"].glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name] = weights[name] * 1.5
    save_file(weights, file, metadata={"format": "pt"})
    again = rejudge if rejudged else screen
    said = again(tmp_path, code=2).stderr
    assert "arm 'd': draft weights (was" in said
    assert "'t'" not in said
    again(tmp_path, "--accept-change", code=5)
    again(tmp_path, code=5)


def test_chance_is_allowed_as_far_as_equal_arms_differ():
    first = {f"c{n}": "x" for n in range(8)}
    one = first | {"c3": "y"}
    assert canary_change([first, first], first, None) is None
    assert canary_change([first, first], one, None).startswith("1 of 8")
    # asked twice at the beginning it did not repeat itself, or arms that are equal differ
    assert canary_change([first, one], first | {"c4": "y"}, None) is None
    assert canary_change([first, first], one, 1 / 20) is None
    assert canary_change([first, first], dict.fromkeys(first, "y"), 1 / 20) is not None
    assert canary_change([], one, None) is None
    assert canary_change([first], None, None) is None


def test_what_either_side_does_not_know_is_no_change():
    before = {"version": "1", "models": ["a", "b"], "target": {"weights_sha256": "0" * 64}}
    assert Known(before).changes({"version": None, "models": ["b", "a"]}, None) == []
    assert Known({}).changes(before, None) == []
    (change,) = Known(before).changes({"target": {"weights_sha256": "1" * 64}}, None)
    assert change == "target weights (was 000000000000…, is 111111111111…)"
    assert Known(before | {"url": "x"}).changes({"url": "y"}, None) == []


def test_counters_that_version_0_1_kept_are_taken_up(pair):
    folder, _, _ = pair
    screen(folder, code=5)
    held = manifest(folder)
    held["arms"]["drafted"]["counters"] = None
    (folder / "R" / "manifest.json").write_text(json.dumps(held))
    kept = {"rounds": 3, "drafted": 12, "accepted": 6, "problem": None}
    (folder / "R" / "logs").mkdir(exist_ok=True)
    (folder / "R" / "logs" / "drafted.counters.json").write_text(json.dumps(kept))
    rejudge(folder, code=5)
    proof = Proof.from_json(manifest(folder)["arms"]["drafted"]["counters"])
    assert proof == Proof(
        state=ProofState.COUNTED, source="prometheus", counters=Counters(3, 12, 6)
    )
    assert not list((folder / "R" / "logs").iterdir())

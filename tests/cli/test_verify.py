"""`draftproof verify` and `draftproof sign` on runs of the shipped models."""

import json
import shutil

import pytest
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.runs.receipt import write_receipt

pytest.importorskip("cryptography", reason="the extra 'sign' is not installed")

SCREEN = (
    "screen", "--target", "lab:target", "--draft", "lab:draft", "--half", "quick", "--limit", "2",
    "--max-new-tokens", "24", "--no-control", "--no-noise",
)  # fmt: skip


def run(*args, code=0):
    done = CliRunner().invoke(main, [*map(str, args)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A screen that was signed as it ended, and the public key."""
    folder = tmp_path_factory.mktemp("signed")
    public = run("sign", "--new-key", folder / "key.pem").stdout.strip()
    run(*SCREEN, "--sign", folder / "key.pem", "--out", folder / "run", "--json", code=5)
    return folder / "run", folder / "key.pem", public


def test_a_screen_leaves_a_receipt_that_verifies(signed):
    place, _, public = signed
    shown = run("verify", place, "--key", public).stdout
    assert "VERIFIED" in shown
    assert public in shown
    document = json.loads(run("verify", place, "--json").stdout)
    assert document["verified"] is True
    assert document["signed_by"] == public
    assert document["about"]["verdict"]["state"] == "INCONCLUSIVE"
    draft = document["about"]["arms"]["draft"]["draft"]
    assert {"config.json", "tokenizer.json"} <= draft["files"].keys()
    assert len(draft["weights_sha256"]) == len(draft["chat_template_sha256"]) == 64


def test_an_altered_answer_is_found_and_nothing_is_asked(signed, tmp_path):
    place = shutil.copytree(signed[0], tmp_path / "run")
    file = place / "answers" / "draft.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"text":"', b'"text":" ', 1))
    done = run("verify", place, "--regenerate", 2, "--json", code=3)
    document = json.loads(done.stdout)
    assert document["regenerated"] is None
    assert [(f["code"], f["place"]) for f in document["findings"]] == [
        ("file-altered", "answers/draft.jsonl")
    ]
    assert "ALTERED" in run("verify", place, code=3).stdout
    assert "so it was not signed" in run("sign", place, "--key", signed[1], code=2).stderr


def test_a_sample_asked_again_has_the_same_bytes(signed):
    before = {p: p.read_bytes() for p in signed[0].rglob("*") if p.is_file()}
    one, two = (
        json.loads(run("verify", signed[0], "--regenerate", 3, "--seed", 7, "--json").stdout)
        for _ in range(2)
    )
    assert one["regenerated"] == two["regenerated"]
    again = one["regenerated"]
    assert (again["answers"], again["differ"], len(again["prompts"])) == (6, 0, 3)
    others = (
        json.loads(run("verify", signed[0], "--regenerate", 3, "--seed", s, "--json").stdout)
        for s in (8, 9)
    )
    assert any(o["regenerated"]["prompts"] != again["prompts"] for o in others)
    assert {p: p.read_bytes() for p in signed[0].rglob("*") if p.is_file()} == before


def test_answers_that_no_model_gave_are_found_with_arm_and_prompt(signed, tmp_path):
    """Whoever forges answers and makes the receipt anew is caught by asking again."""
    place = shutil.copytree(signed[0], tmp_path / "run")
    file = place / "answers" / "draft.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[3]["text"] = rows[3]["text"][:5] + "#" + rows[3]["text"][6:]
    file.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    write_receipt(place)
    assert run("verify", place).exit_code == 0
    document = json.loads(run("verify", place, "--regenerate", 99, "--json", code=3).stdout)
    assert document["regenerated"]["differ"] == 1
    (only,) = document["findings"]
    assert only["code"] == "answer-differs"
    assert only["place"] == f"draft: {rows[3]['id']}"
    assert "from character 5 on" in only["text"]


def test_another_model_under_the_same_name_is_found(signed, tmp_path):
    place = shutil.copytree(signed[0], tmp_path / "run")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["arms"]["draft"]["fingerprint"]["draft"]["weights_sha256"] = "0" * 64
    manifest["arms"]["draft"]["fingerprint"]["torch"] = "0.1"
    (place / "manifest.json").write_text(json.dumps(manifest))
    write_receipt(place)
    done = run("verify", place, "--regenerate", 1, code=3)
    shown = " ".join(done.stdout.split())
    assert "model-differs draft: draft" in shown
    assert "so rounding may decide a tie otherwise: torch was 0.1" in shown


def test_what_cannot_be_asked_here_is_skipped_and_code_is_not_run(signed, tmp_path):
    place = shutil.copytree(signed[0], tmp_path / "run")
    manifest = json.loads((place / "manifest.json").read_text())
    base, other = manifest["plan"]["arms"]
    base["trust_remote_code"] = True
    other |= {"engine": "openai", "serve": "touch started {port}", "draft": None}
    (place / "manifest.json").write_text(json.dumps(manifest))
    write_receipt(place)
    document = json.loads(run("verify", place, "--regenerate", 1, "--json").stdout)
    again = document["regenerated"]
    assert again["answers"] == 0
    assert "--trust-remote-code" in again["skipped"]["target"]
    assert "openai engine" in again["skipped"]["draft"]


def test_a_finished_run_can_be_signed(signed, tmp_path):
    place = shutil.copytree(signed[0], tmp_path / "run")
    run("rejudge", place, "--json", code=5)
    assert "signature-missing" in run("verify", place, "--key", signed[2], code=3).stdout
    assert run("sign", place, "--key", signed[1]).stdout.strip() == signed[2]
    run("verify", place, "--key", signed[2])


def test_recorded_answers_have_a_receipt_and_cannot_be_asked_again(tmp_path):
    rows = "".join(
        json.dumps({"id": str(i), "text": f"I can't help with {i}."}) + "\n" for i in range(120)
    )
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(rows)
    run("compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "run")
    run("verify", tmp_path / "run")
    done = run("verify", tmp_path / "run", "--regenerate", 1, code=2)
    assert "recorded answers and no plan" in done.stderr


def test_usage_and_missing_things_are_told(signed, tmp_path):
    assert "cannot be read" in run("verify", tmp_path, code=2).stderr
    assert "cannot be read" in run("verify", signed[0], "--key", "no-such", code=2).stderr
    assert "give RUN and --sign-key" in run("sign", signed[0], code=2).stderr
    assert "give it alone" in run("sign", signed[0], "--new-key", tmp_path / "k", code=2).stderr
    bad = run(*SCREEN, "--sign", tmp_path / "none", "--out", tmp_path / "run", code=2)
    assert "cannot be read" in bad.stderr
    assert not (tmp_path / "run").exists(), "told before the first answer"

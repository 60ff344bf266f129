from importlib.resources import files

import pytest
from click.testing import CliRunner

from draftproof.cli import main

SHIPPED = files("draftproof") / "studies" / "ssd2025.yaml"


def test_an_unknown_study_is_an_error():
    done = CliRunner().invoke(main, ["study", "ssd2026"])
    assert done.exit_code == 2
    assert "ssd2025" in done.stderr


def test_a_broken_declaration_is_named(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SHIPPED.read_text("utf-8").replace("gamma: 3", "gamma: many"))
    done = CliRunner().invoke(main, ["study", str(path)])
    assert done.exit_code == 2
    assert "gamma" in done.stderr


def test_a_small_study_runs_resumes_and_refuses_another(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "s.yaml"
    text = """
name: small
target: lab:target
expert: lab:expert
max_new_tokens: 48
prefill: [10]
tasks:
  - {name: prefill, role: attack, source: "lab:prefill", limit: 4, quick: 4}
  - {name: open, role: utility, source: "lab:open", limit: 3, quick: 3}
arms:
  - {name: target, kind: target}
  - {name: ssd, kind: ssd, options: {preset: llama2, compat: fixed}}
speed: {prompts: 1, passes: 1}
"""
    path.write_text(text)
    out = tmp_path / "run"
    first = CliRunner().invoke(main, ["study", str(path), "--out", str(out), "--json"])
    assert first.exit_code == 0, first.stderr
    kept = {f.name: f.read_bytes() for f in (out / "answers").iterdir()}
    assert (out / "study.html").read_text("utf-8").count("<svg") == 3 + 2
    again = CliRunner().invoke(main, ["study", str(path), "--out", str(out)])
    assert again.exit_code == 0, again.stderr
    assert kept == {f.name: f.read_bytes() for f in (out / "answers").iterdir()}
    path.write_text(text.replace("max_new_tokens: 48", "max_new_tokens: 47"))
    other = CliRunner().invoke(main, ["study", str(path), "--out", str(out)])
    assert other.exit_code == 2
    assert "another study" in other.stderr

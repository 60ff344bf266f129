"""What the verb prints: text for people, JSON, SARIF, and exit codes."""

import json

from click.testing import CliRunner

from draftproof.cli.lint import lint as verb
from draftproof.lint.lint import lint_path
from draftproof.lint.sarif import as_sarif

VLLM = 'vllm serve m --speculative-config \'{"method": "draft_model", "model": "d"%s}\''


def run(*arguments):
    return CliRunner().invoke(verb, list(arguments))


def test_exit_codes(tmp_path):
    assert run("--command", VLLM % "").exit_code == 0
    lossy = VLLM % ', "rejection_sample_method": "fly"'
    result = run("--command", lossy)
    assert result.exit_code == 3
    assert "DP102" in result.stdout
    assert "L0, lossy by declaration" in result.stdout
    assert run(str(tmp_path / "nothing")).exit_code == 2
    assert run().exit_code == 2
    assert run("--command", lossy, "--json", "--sarif").exit_code == 2


def test_one_json_document():
    result = run("--json", "--command", VLLM % ', "rejection_sample_method": "fly"')
    document = json.loads(result.stdout)
    assert document["lossy"] is True
    (subject,) = document["subjects"]
    assert subject["promise"] == "L0"
    (finding,) = subject["findings"]
    assert finding["rule"] == "DP102"
    assert {"file", "line", "severity", "source", "versions"} <= finding.keys()


def test_sarif_has_what_readers_need(tmp_path):
    path = tmp_path / "start.sh"
    path.write_text(VLLM % ', "rejection_sample_method": "fly", "method": "suffix"')
    log = as_sarif(lint_path(path))
    assert log["version"] == "2.1.0"
    only = log["runs"][0]
    assert log["runs"] == [only]
    rules = only["tool"]["driver"]["rules"]
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == str(path)
        assert place["region"]["startLine"] == 1
    assert json.loads(run("--sarif", str(path)).stdout) == log


def test_what_a_terminal_would_obey_is_not_printed():
    result = run("--command", "vllm serve m --speculative-config.rejection_sample_method '\x1b[2J'")
    assert "\x1b" not in result.stdout

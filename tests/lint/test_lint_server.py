"""What running servers tell of themselves, and what they leave out."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from draftproof.cli.lint import lint as verb
from draftproof.lint.lint import lint_server
from draftproof.records import DraftproofError
from draftproof.stacks.http.server import Server, free_port

_spec = importlib.util.spec_from_file_location(
    "stack_server", Path(__file__).parents[1] / "stacks" / "stack_server.py"
)
stacks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stacks)


def linted(documents):
    with stacks.serving(documents) as url:
        (one,) = lint_server(url)
    return one.subject.stack, one.promise, {f.rule for f in one.findings}


def slots(on):
    return [{"id": 0, "speculative": on}]


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        (stacks.LLAMA_CPP, ("llama.cpp", "unknown", {"DP405", "DP705"})),
        (stacks.LLAMA_CPP | {"/slots": slots(False)}, ("llama.cpp", None, set())),
        (
            stacks.LLAMA_CPP | {"/props": stacks.LLAMA_CPP["/props"] | {"model_ftype": "Q8_0"}},
            ("llama.cpp", "unknown", {"DP403", "DP405", "DP705"}),
        ),
        (stacks.VLLM, ("vllm", "unknown", {"DP705"})),
        (stacks.VLLM | {"/metrics": "vllm:num_requests_running 0.0\n"}, ("vllm", None, set())),
        (stacks.VLLM | {"/metrics": None}, ("vllm", "unknown", {"DP705"})),
        (
            stacks.VLLM
            | {
                "/server_info": {
                    "vllm_config": {
                        "speculative_config": {
                            "method": "draft_model", "rejection_sample_method": "synthetic"
                        }
                    }
                }
            },
            ("vllm", "L0", {"DP101"}),
        ),
        (stacks.SGLANG, ("sglang", "L0", {"DP201"})),
        ({"/v1/models": stacks.models(None)}, ("unknown", "unknown", {"DP705"})),
    ],
)  # fmt: skip
def test_what_is_told_is_graded_and_the_rest_is_unknown(documents, found):
    assert linted(documents) == found


@pytest.mark.slow
def test_our_own_server_is_asked_for_real(tmp_path):
    serve = f'{sys.executable} -c "from draftproof.cli.serve import serve; serve()"'
    for draft, promise in (("", None), (" --draft lab:draft", "unknown")):
        command = f"{serve} --target lab:target --port {{port}}{draft}"
        server = Server("own", command, None, tmp_path)
        try:
            server.wait_until_ready(120)
            (one,) = lint_server(server.url)
        finally:
            server.stop()
        assert (one.subject.stack, one.promise) == ("draftproof", promise)


def test_the_verb_takes_an_address():
    with stacks.serving(stacks.SGLANG) as url:
        done = CliRunner().invoke(verb, [url, "--json"])
        assert done.exit_code == 3
        document = json.loads(done.output)
        assert document["subjects"][0]["stack"] == "sglang"
        assert document["subjects"][0]["file"] == url
    with stacks.serving(stacks.LLAMA_CPP) as url:
        done = CliRunner().invoke(verb, [f"{url}/v1"])
        assert done.exit_code == 5
        assert "does not report how it accepts" in done.output
        assert CliRunner().invoke(verb, [url, "--sarif"]).exit_code == 5


@pytest.mark.parametrize(
    "documents",
    [{}, {"/v1/models": []}, {"/v1/models": "<html>"}, {"/v1/models": {"data": [None]}}],
)
def test_what_is_no_server_is_an_error(documents):
    with pytest.raises(DraftproofError, match=r"HTTP 404|lists no model"):
        linted(documents)


def test_nobody_there_and_bad_addresses_are_errors():
    with pytest.raises(DraftproofError, match="cannot be reached"):
        lint_server(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DraftproofError, match="must not carry a password"):
        lint_server("http://me:secret@127.0.0.1:1")


def test_a_huge_or_deep_answer_is_bounded():
    deep = {}
    for _ in range(200):
        deep = {"a": deep}
    wide = {f"k{n}": n for n in range(9000)}
    for info, error in (({"version": "1", "deep": deep}, None), ({"wide": wide}, "more than")):
        documents = stacks.SGLANG | {"/server_info": info}
        if error:
            with pytest.raises(DraftproofError, match=error):
                linted(documents)
        else:
            linted(documents)

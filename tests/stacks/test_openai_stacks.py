"""Which stack answers, and what it is asked for: recorded and documented documents."""

import asyncio
import importlib.util
from pathlib import Path

import httpx
import pytest

from draftproof.stacks import ArmSpec
from draftproof.stacks.http.server_info import server_info

_spec = importlib.util.spec_from_file_location(
    "stack_server", Path(__file__).with_name("stack_server.py")
)
stacks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stacks)

TRTLLM = {"/v1/models": stacks.models("tensorrt_llm"), "/version": {"version": "1.2.1"}}
OLD_SGLANG = {
    "/v1/models": stacks.models("sglang"), "/get_server_info": {"version": "0.4.9"},
}  # fmt: skip


def info(documents):
    async def ask(url):
        async with httpx.AsyncClient(base_url=url) as http:
            return await server_info(
                http, ArmSpec(name="a", role="noise", engine="openai", url=url)
            )

    with stacks.serving(documents) as url:
        return asyncio.run(ask(url))


@pytest.mark.parametrize(
    ("documents", "stack", "version", "extra"),
    [
        (stacks.VLLM, "vllm", "0.32.0", {"return_token_ids"}),
        (stacks.LLAMA_CPP, "llama.cpp", "b1-0c1e570", {"return_tokens", "verbose"}),
        (stacks.SGLANG, "sglang", "0.5.23", {"return_spec_tokens_details"}),
        (OLD_SGLANG, "sglang", "0.4.9", {"return_spec_tokens_details"}),
        (TRTLLM, "trtllm", "1.2.1", set()),
        (TRTLLM | {"/version": None}, "trtllm", None, set()),
        ({"/v1/models": stacks.models(None)}, "unknown", None, set()),
    ],
)
def test_kind_and_version_are_read_first(documents, stack, version, extra):
    found = info(documents)
    assert (found.stack, found.version, found.models) == (stack, version, ("lab",))
    assert set(found.extra) == extra

"""A service over the lab's models, asked without a socket."""

import asyncio

import httpx
import pytest

from draftproof.battery import load_battery
from draftproof.serve import Service, create_app
from draftproof.stacks import ArmSpec, make_engine


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(1).prompts[:4]


@pytest.fixture(scope="module")
def service():
    made = Service("lab:target", draft="lab:draft", waiting=4)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def plain():
    made = Service("lab:target")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ask(service):
    def send(path, body, *, of=service, **options):
        async def run():
            transport = httpx.ASGITransport(create_app(of))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                if body is None:
                    return await http.get(path, **options)
                return await http.post(path, **({"json": body} | options))

        return asyncio.run(run())

    return send


@pytest.fixture(scope="module")
def local(prompts):
    arm = ArmSpec(name="local", role="baseline", target="lab:target", max_new_tokens=40)
    engine = make_engine(arm)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}

"""The routes. Nothing that a request holds is ever run; it is parsed, bounded and fed as tokens."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from draftproof import __version__
from draftproof.decoding.session import PromptIds
from draftproof.serve.bodies import Shape, event
from draftproof.serve.errors import RequestError, error_object
from draftproof.serve.jobs import Event, Finished, Job
from draftproof.serve.metrics import metrics_page
from draftproof.serve.questions import ChatQuestion, TextQuestion, read_chat, read_text
from draftproof.serve.worker import Service

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request."""
_TEXT_DEFAULT = 16
"""max_tokens of /v1/completions where a request names none, as the protocol has it."""
_LOOK_EVERY = 0.5
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_Handler = Callable[[Request], Awaitable[Response]]


def create_app(service: Service, hosts: Sequence[str] = ("*",)) -> Starlette:
    """Return the ASGI application; its lifespan starts and stops the service.

    Args:
        service: What answers.
        hosts: Host names that requests may address.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        await asyncio.to_thread(service.stop)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok" if service.alive else "down"},
                            status_code=200 if service.alive else 503)  # fmt: skip

    async def version(_: Request) -> Response:
        return JSONResponse({"version": __version__})

    async def models(_: Request) -> Response:
        model = {"id": service.name, "object": "model", "created": 0, "owned_by": "draftproof"}
        return JSONResponse(
            {"object": "list", "data": [model | {"max_model_len": service.capacity}]}
        )

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(
            metrics_page(service), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def chat(request: Request) -> Response:
        question = read_chat(await _body(request))
        messages, prefill = question.conversation()
        prompt = service.ids_of([asdict(m) for m in messages], prefill, "messages")
        limit = question.max_completion_tokens or question.max_tokens
        return await _respond(service, request, question, prompt, limit)

    async def completions(request: Request) -> Response:
        question = read_text(await _body(request))
        prompt = service.ids_of(question.one_prompt(), "", "prompt")
        limit = question.max_tokens or _TEXT_DEFAULT
        return await _respond(service, request, question, prompt, limit)

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _http_error},
        routes=[
            Route("/health", health),
            Route("/version", version),
            Route("/metrics", metrics),
            Route("/v1/models", models),
            Route("/v1/chat/completions", _answering(chat), methods=["POST"]),
            Route("/v1/completions", _answering(completions), methods=["POST"]),
        ],
    )


def _answering(handler: _Handler) -> _Handler:
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as error:
            return error.response()

    return answered


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "internal error"
    return JSONResponse({"error": error_object(detail, status)}, status_code=status)


async def _body(request: Request) -> dict[str, Any]:
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_BODY:
            raise RequestError(f"a request may have {MAX_BODY:,} bytes", status=413)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError("the body is no JSON object")
    return body


async def _respond(
    service: Service,
    request: Request,
    question: ChatQuestion | TextQuestion,
    prompt: PromptIds,
    limit: int | None,
) -> Response:
    if question.model != service.name:
        raise RequestError(
            f"no model {question.model!r:.100} here, only {service.name!r}",
            param="model",
            code="model_not_found",
            status=404,
        )
    chat = isinstance(question, ChatQuestion)
    named = request.headers.get("X-Request-Id", "")
    name = named if _NAME.fullmatch(named) else secrets.token_hex(16)
    shape = Shape(
        id=f"{'chatcmpl' if chat else 'cmpl'}-{name}",
        model=service.name,
        chat=chat,
        prompt=prompt.target,
        with_tokens=question.return_token_ids,
        gamma=service.gamma,
        with_logprobs=question.with_logprobs,
        token_text=service.token_text,
    )
    options = question.options(service.room(prompt, limit))
    # reading a schema takes a second where the vocabulary is large
    asked = await asyncio.to_thread(service.request_of, shape.id, prompt, options)
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

    def tell(event: Event) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    job = Job(request=asked, options=options, live=question.stream, tell=tell)
    service.submit(job)
    if question.stream:
        return StreamingResponse(
            _stream(shape, job, events, usage=question.stream_options.include_usage),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )
    return await _whole(request, shape, job, events)


async def _whole(
    request: Request, shape: Shape, job: Job, events: asyncio.Queue[Event]
) -> Response:
    try:
        while True:
            try:
                event = await asyncio.wait_for(events.get(), _LOOK_EVERY)
            except TimeoutError:
                if await request.is_disconnected():
                    return Response(status_code=499)
                continue
            if isinstance(event, Finished):
                break
    finally:
        job.dropped.set()
    if event.error:
        return JSONResponse({"error": error_object(event.error)}, status_code=500)
    return JSONResponse(shape.whole(event.piece.text, event.piece, event))


async def _stream(
    shape: Shape, job: Job, events: asyncio.Queue[Event], *, usage: bool
) -> AsyncIterator[str]:
    try:
        if shape.chat:
            yield event(shape.first())
        while not isinstance(told := await events.get(), Finished):
            yield event(shape.piece(told))
        if told.error:
            # no [DONE] after it: an answer that failed must not look whole
            yield event({"error": error_object(told.error)})
            return
        yield event(shape.last(told))
        if usage:
            yield event(shape.closing(told))
        yield "data: [DONE]\n\n"
    finally:
        # also when the asker has gone: the worker then ends the answer
        job.dropped.set()

"""A server that speaks the OpenAI protocol and breaks it on purpose.

``faulty_server.py PORT SHARE SEED``: every request meets a fault with probability SHARE. Which one
is drawn from a generator with that seed, so that a run can be repeated. A prompt that holds
``[poison]`` always meets one; its kind may be named, as in ``[poison:stall]``.
"""

import asyncio
import json
import random
import re
import socket
import struct
import sys

FAULTS = (
    "stall", "reset", "500", "429", "half", "wrong_id", "duplicate_choices", "empty",
    "truncated_stream", "model", "no_json", "trickle",
)  # fmt: skip
MODEL = "faithful"


class Faulty:
    def __init__(self, share, seed):
        self.share = share
        self.chance = random.Random(seed)
        self.totals = {"drafts": 0, "drafted": 0, "accepted": 0}
        self.backwards_at = None
        self.requests = self.faults = 0
        self.answered = {}

    def metrics(self):
        names = {"num_drafts": "drafts", "num_draft_tokens": "drafted",
                 "num_accepted_tokens": "accepted"}  # fmt: skip
        if self.backwards_at is not None and self.requests >= self.backwards_at:
            self.totals = dict.fromkeys(self.totals, 1)
            self.backwards_at = None
        return "".join(
            f'vllm:spec_decode_{name}_total{{engine="0"}} {float(self.totals[key])}\n'
            for name, key in names.items()
        )

    def fault_for(self, text):
        named = re.search(r"\[poison(?::(\w+))?\]", text)
        if named:
            return named[1] or self.chance.choice(FAULTS)
        return self.chance.choice(FAULTS) if self.chance.random() < self.share else None

    def count(self):
        self.totals["drafts"] += 3
        self.totals["drafted"] += 12
        self.totals["accepted"] += 7


def answer_to(text):
    # a line separator that JSON may hold unescaped, and a character of four bytes
    return f"answer to {text}\u2028end \U0001f40c"


def body_of(request, request_id, *, stream, wrong_id=False, model=MODEL, choices=1):
    text = answer_to(request["messages"][-1]["content"])
    name = "chatcmpl-" + ("another" if wrong_id else request_id)
    if not stream:
        choice = {"index": 0, "finish_reason": "stop",
                  "message": {"role": "assistant", "content": text}}  # fmt: skip
        document = {"id": name, "object": "chat.completion", "model": model,
                    "choices": [choice] * choices}  # fmt: skip
        return json.dumps(document, ensure_ascii=False).encode()
    lines = []
    for piece in (text[:5], text[5:9], text[9:]):
        part = [{"index": i, "delta": {"content": piece}, "finish_reason": None}
                for i in range(choices)]  # fmt: skip
        lines.append({"id": name, "model": model, "choices": part})
    end = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    lines.append({"id": name, "model": model, "choices": end})
    events = [f"data: {json.dumps(line, ensure_ascii=False)}\n\n" for line in lines]
    return "".join([*events, "data: [DONE]\n\n"]).encode()


async def send(writer, status, body, *, headers=(), kind="application/json"):
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([*head, *headers, "", ""]).encode() + body)
    await writer.drain()


def reset(writer):
    # lingering for no time turns the close into a reset
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


async def meet(fault, state, request, request_id, writer):
    """Break one answer; return whether the connection can be used again."""
    stream = bool(request.get("stream"))
    kind = "text/event-stream" if stream else "application/json"
    good = body_of(request, request_id, stream=stream)
    if fault == "stall":
        await asyncio.sleep(3600)
    if fault == "reset":
        reset(writer)
        return False
    if fault == "500":
        await send(writer, 500, b'{"error": {"message": "out of memory"}}')
    elif fault == "429":
        await send(writer, 429, b'{"error": {"message": "slow"}}', headers=["Retry-After: 0.02"])
    elif fault == "half":
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(good)}\r\n\r\n"
        writer.write(head.encode() + good[: len(good) // 2])
        await writer.drain()
        writer.close()
        return False
    elif fault == "truncated_stream":
        cut = good.rindex(b"data: [DONE]") if stream else len(good) - 9
        await send(writer, 200, good[:cut], kind=kind)
    elif fault == "empty":
        await send(writer, 200, b"", kind=kind)
    elif fault == "no_json":
        await send(writer, 200, b"<html>busy</html>", kind="text/html")
    elif fault == "trickle":
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 1000000\r\n\r\n"
        writer.write(head.encode())
        for _ in range(10_000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)
        return False
    else:
        broken = {"wrong_id": {"wrong_id": True}, "duplicate_choices": {"choices": 2},
                  "model": {"model": "impostor"}}[fault]  # fmt: skip
        await send(writer, 200, body_of(request, request_id, stream=stream, **broken), kind=kind)
    return True


async def respond(state, method, path, headers, body, writer):
    if path == "/v1/models":
        models = {"data": [{"id": MODEL, "owned_by": "vllm"}]}
        await send(writer, 200, json.dumps(models).encode())
    elif path == "/version":
        await send(writer, 200, b'{"version": "0.33.0"}')
    elif path == "/metrics":
        await send(writer, 200, state.metrics().encode(), kind="text/plain")
    elif path == "/stats":
        stats = {"requests": state.requests, "faults": state.faults, "answered": state.answered}
        await send(writer, 200, json.dumps(stats).encode())
    elif path.startswith("/backwards/"):
        state.backwards_at = state.requests + int(path.rpartition("/")[2])
        await send(writer, 200, b"{}")
    elif path == "/v1/chat/completions" and method == "POST":
        request = json.loads(body)
        state.requests += 1
        text = request["messages"][-1]["content"]
        fault = state.fault_for(text)
        request_id = headers.get("x-request-id", "none")
        if fault:
            state.faults += 1
            return await meet(fault, state, request, request_id, writer)
        state.count()
        state.answered[text] = state.answered.get(text, 0) + 1
        stream = bool(request.get("stream"))
        kind = "text/event-stream" if stream else "application/json"
        await send(writer, 200, body_of(request, request_id, stream=stream), kind=kind)
    else:
        await send(writer, 404, b"{}")
    return True


async def serve(state, reader, writer):
    try:
        going = True
        while going:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            going = await respond(state, method, path, headers, body, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port, share, seed):
    state = Faulty(share, seed)
    server = await asyncio.start_server(
        lambda reader, writer: serve(state, reader, writer), "127.0.0.1", port, backlog=1024
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))

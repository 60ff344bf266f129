"""A small OpenAI-compatible server in this process, whose model can be swapped at its address.

``stub_server.py PORT [totals]`` runs it alone, on a free port for 0, and prints the port.
"""

import contextlib
import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StubServer(ThreadingHTTPServer):
    """Listens on a free port of the loopback interface.

    Attributes:
        says: Returns the answer to a text.
        totals: Whether /metrics counts three drafts of four tokens an answer, two kept of each.
        loading: How many questions about the server are still put off.
        fails: Returns the status and text of a refusal, or None, for a text.
    """

    daemon_threads = True

    def __init__(self, says=lambda text: f"answer to {text}", port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.says, self.totals, self.fails = says, False, lambda text: None
        self.version, self.models, self.configuration = "1.0", ["stub"], None
        self.asked, self.loading = [], 0
        self.answered = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def questions(self):
        """What was asked apart from canaries."""
        return [text for text in self.asked if text.startswith("q")]

    def handle_error(self, request, client_address):
        """A client that was killed is no fault of the server."""


@contextlib.contextmanager
def serving(*arguments):
    server = StubServer(*arguments)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def _send(self, status, body, kind="application/json"):
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        server = self.server
        if server.loading > 0:
            server.loading -= 1
            self._send(503, {"error": {"message": "Loading model"}})
        elif self.path == "/v1/models":
            listed = [{"id": m, "object": "model", "owned_by": "vllm"} for m in server.models]
            self._send(200, {"data": listed})
        elif self.path == "/version":
            self._send(200, {"version": server.version})
        elif self.path == "/metrics" and server.totals:
            counts = zip(("drafts", "draft_tokens", "accepted_tokens"), (3, 12, 6), strict=True)
            page = "".join(
                f'vllm:spec_decode_num_{name}_total{{engine="0"}} {each * server.answered}.0\n'
                for name, each in counts
            )
            self._send(200, page, "text/plain")
        else:
            self._send(404, {})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with server.lock:
            server.asked.append(text)
        refusal = server.fails(text)
        if refusal is not None:
            self._send(refusal[0], {"error": {"message": refusal[1]}})
            return
        with server.lock:
            server.answered += 1
        said = {"role": "assistant", "content": server.says(text)}
        request = self.headers.get("X-Request-Id", uuid.uuid4().hex)
        answer = {
            "id": f"chatcmpl-{request}",
            "model": body["model"],
            "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        }
        if server.configuration:
            answer["system_fingerprint"] = server.configuration
        self._send(200, answer)


if __name__ == "__main__":
    stub = StubServer(port=int(sys.argv[1]))
    stub.totals = "totals" in sys.argv
    print(stub.server_address[1], flush=True)
    stub.serve_forever()

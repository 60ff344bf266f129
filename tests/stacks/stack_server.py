"""Answers GET requests with documents that stacks were seen, or are documented, to answer."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def models(owner):
    entry = {"id": "lab", "object": "model", "created": 1795302727}
    return {"object": "list", "data": [entry | ({"owned_by": owner} if owner else {})]}


# recorded from llama-server 0.5.0-dev, started with a draft; sampling defaults left out
LLAMA_CPP = {
    "/v1/models": models("llamacpp"),
    "/props": {
        "default_generation_settings": {"params": {"speculative.types": "none"}, "n_ctx": 512},
        "total_slots": 2, "model_alias": "lab", "model_ftype": "all F32",
        "model_path": "target-f32.gguf", "build_info": "b1-0c1e570",
    },
    "/slots": [{"id": 0, "n_ctx": 512, "speculative": True, "is_processing": False},
               {"id": 1, "n_ctx": 512, "speculative": True, "is_processing": False}],
}  # fmt: skip
# names as vLLM 0.32 was seen to write them
VLLM_METRICS = (
    "# TYPE vllm:spec_decode_num_drafts_total counter\n"
    'vllm:spec_decode_num_drafts_total{engine="0",model_name="lab"} 3.0\n'
    'vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="lab"} 12.0\n'
    'vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="lab"} 9.0\n'
)
VLLM = {
    "/v1/models": models("vllm"), "/version": {"version": "0.32.0"}, "/metrics": VLLM_METRICS,
}  # fmt: skip
# from the documentation: never run
SGLANG = {
    "/v1/models": models("sglang"),
    "/server_info": {
        "version": "0.5.23", "model_path": "lab", "speculative_algorithm": "EAGLE",
        "speculative_accept_threshold_single": 0.001, "speculative_accept_threshold_acc": 1.0,
        "internal_states": [{"avg_spec_accept_length": 2.5}],
    },
}  # fmt: skip


def page(iterations):
    """A page of TensorRT-LLM's iteration statistics: read once, then gone."""
    return [{"iter": n, "specDecodingStats": one} if one else {"iter": n}
            for n, one in enumerate(iterations)]  # fmt: skip


@contextmanager
def serving(documents):
    """Serve documents by path; a callable is asked anew each time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = documents.get(self.path.partition("?")[0])
            found = found() if callable(found) else found
            text = found if isinstance(found, str) else json.dumps(found)
            self.send_response(404 if found is None else 200)
            kind = "text/plain" if isinstance(found, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

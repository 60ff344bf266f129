"""The addresses of the protocol and a prompt as a request: shared by tests of the server."""

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def question(prompt, **options):
    return {
        "model": "lab:target",
        "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "temperature": 0,
        "max_tokens": 40,
        **options,
    }

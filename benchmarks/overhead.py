"""What the screen costs over the bare stack: the same prompts, sent by ten lines and by an arm.

    overhead.py [--url URL | --serve COMMAND] [--prompts N] [--passes K] [--json]

Without an address our own server is started with the lab target. Both clients ask one prompt at a
time, in turns, pass after pass; the overhead is the median over passes of the ratio of wall times.
The client's processor time says the same where other work disturbs the clock. Judging is measured
once, for the arm against itself.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from draftproof.records import Prompt
from draftproof.runs import Plan, RunDirectory
from draftproof.runs.collect import Task, answer_with_own_engine
from draftproof.runs.identity import Known
from draftproof.screen.run import run_plan
from draftproof.stacks.http.server import Server

SERVE = f'{sys.executable} -c "from draftproof.cli.serve import serve; serve()"'
NEW_TOKENS = 96


def bare(url: str, model: str, prompts: Sequence[Prompt]) -> list[str]:
    """The ten lines."""
    texts = []
    with httpx.Client(base_url=url, timeout=300) as http:
        for prompt in prompts:
            messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
            body = {"model": model, "messages": messages, "temperature": 0,
                    "max_tokens": NEW_TOKENS}  # fmt: skip
            answer = http.post("/v1/chat/completions", json=body).json()
            texts.append(answer["choices"][0]["message"]["content"])
    return texts


def timed(work, *arguments):
    wall, own = time.perf_counter(), time.process_time()
    result = work(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - own


def compare(url: str, model: str, plan: Plan, passes: int) -> dict:
    battery = plan.load_battery()
    # ten lines know nothing of answers that are begun
    battery = replace(battery, prompts=tuple(p for p in battery.prompts if not p.prefill))
    prompts = battery.prompts
    walls, processors = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(passes):
            log = Path(folder) / str(number) / "answers" / "arm.jsonl"
            log.parent.mkdir(parents=True)
            texts, wall, own = timed(bare, url, model, prompts)
            task = Task(plan.baseline, battery, log, prompts, Known({}))
            _, our_wall, our_own = timed(answer_with_own_engine, task, lambda *_: None)
            written = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
            same = sum(a == b["text"] for a, b in zip(texts, written, strict=True))
            walls.append((wall, our_wall))
            processors.append((own, our_own))
        run = RunDirectory(Path(folder) / "run")
        run_plan(plan, run)
        # everything is answered: what is left is reading, scoring and judging
        _, judging, _ = timed(run_plan, plan, run)
    count = len(prompts)
    wall = float(np.median([w for w, _ in walls]))
    extra = float(np.median([b - a for a, b in processors]))
    return {
        "prompts": count,
        "passes": passes,
        "answers_equal": same,
        "bare_ms_per_answer": round(1e3 * wall / count, 2),
        "overhead_wall": round(float(np.median([b / a for a, b in walls])) - 1, 4),
        "extra_processor_ms_per_answer": round(1e3 * extra / count, 3),
        "overhead_processor": round(extra / wall, 4),
        "judging_ms_per_pair": round(1e3 * judging / len(plan.load_battery().prompts), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--serve", default=f"{SERVE} --target lab:target --port {{port}}")
    parser.add_argument("--prompts", type=int, default=10, help="of every task")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    server, url = None, asked.url
    if url is None:
        server = Server("bare", asked.serve, None, None)
        server.wait_until_ready(900)
        url = server.url
    try:
        model = httpx.get(f"{url}/v1/models").json()["data"][0]["id"]
        arm = {"engine": "openai", "url": url, "max_new_tokens": NEW_TOKENS}
        plan = Plan.model_validate(
            {
                "half": "quick",
                "limit": asked.prompts,
                "arms": [
                    {"name": "plain", "role": "baseline", **arm},
                    {"name": "again", "role": "candidate", "speculates": False, **arm},
                ],
            }
        )
        found = compare(url, model, plan, asked.passes)
    finally:
        if server is not None:
            server.stop()
    print(json.dumps(found) if asked.json else "\n".join(f"{k}: {v}" for k, v in found.items()))


if __name__ == "__main__":
    main()

"""Small runs of every kind that can be killed, and what must be the same afterwards."""

import json
import re
import sys
from pathlib import Path

STUB = Path(__file__).parents[1] / "stub_server.py"


def _battery(folder, count):
    rows = [
        {"id": f"q{n}", "task": "t", "prompt": f"q{n} of this battery", "scorer": "refusal",
         "expect": "refusal"}
        for n in range(count)
    ]  # fmt: skip
    (folder / "battery.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _plan(folder, arms, **shared):
    document = {
        "name": "case", "battery": "battery.jsonl", "engine": "openai", "max_new_tokens": 16,
        "retries": 0, "backoff": 0, "concurrency": 3, "arms": arms, **shared,
    }  # fmt: skip
    (folder / "plan.yaml").write_text(json.dumps(document))


def urls(folder, servers):
    """Two servers behind addresses, counters in their totals only, and a noise arm."""
    _battery(folder, 12)
    plain, drafted = servers
    _plan(folder, [
        {"name": "plain", "role": "baseline", "url": plain, "speculates": False},
        {"name": "again", "role": "noise", "url": plain, "speculates": False},
        {"name": "drafted", "role": "candidate", "url": drafted},
    ])  # fmt: skip
    return ["screen", str(folder / "plan.yaml")]


def blocks(folder, servers):
    """The same, asked in blocks."""
    command = urls(folder, servers)
    plan = json.loads((folder / "plan.yaml").read_text())
    (folder / "plan.yaml").write_text(json.dumps({**plan, "stop": {"block": 4}}))
    return command


def started(folder, servers):
    """Servers that the command starts."""
    del servers
    _battery(folder, 8)
    serve = f"{sys.executable} {STUB} {{port}}"
    _plan(folder, [
        {"name": "plain", "role": "baseline", "serve": serve, "speculates": False},
        {"name": "drafted", "role": "candidate", "serve": f"{serve} totals"},
    ])  # fmt: skip
    return ["screen", str(folder / "plan.yaml")]


def lab(folder, servers):
    """The shipped pair in this process, with a control that leaks."""
    del servers
    document = {
        "battery": "lab-core", "half": "quick", "limit": 1, "max_new_tokens": 8,
        "target": "lab:target",
        "arms": [
            {"name": "t", "role": "baseline"},
            {"name": "d", "role": "candidate", "draft": "lab:draft"},
            {"name": "c", "role": "control", "draft": "lab:draft", "rule": "typical"},
        ],
    }  # fmt: skip
    (folder / "plan.yaml").write_text(json.dumps(document))
    return ["screen", str(folder / "plan.yaml")]


def recorded(folder, servers):
    """Answers that were recorded elsewhere."""
    del servers
    for name in ("one", "two"):
        rows = [{"id": f"q{n}", "text": f"answer {n} {name[: n % 9 == 0]}"} for n in range(20)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["compare", str(folder / "one.jsonl"), str(folder / "two.jsonl")]


SCENARIOS = {"urls": urls, "blocks": blocks, "started": started, "lab": lab, "recorded": recorded}
_DATES = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}( to \d{4}-\d{2}-\d{2} \d{2}:\d{2})?")
_OF_THE_MOMENT = frozenset({"created", "seconds", "answered", "attempts", "warnings"})
_OF_TOTALS = frozenset({
    "rounds", "drafted", "accepted", "acceptance_rate", "tokens_per_round", "text", "sentence",
})  # fmt: skip
"""Figures that a server's totals give: what it counted between the last reading and a kill is
not known of one that was killed too."""


def essence(value, *, totals):
    """Return a verdict without what a clock says, and without sums of totals."""
    if isinstance(value, list):
        return [essence(one, totals=totals) for one in value]
    if isinstance(value, str):
        return _DATES.sub("DATE", value)
    if not isinstance(value, dict):
        return value
    left_out = _OF_THE_MOMENT | (_OF_TOTALS if totals else frozenset())
    return {k: essence(v, totals=totals) for k, v in value.items() if k not in left_out}

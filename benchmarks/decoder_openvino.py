"""Our decoder beside OpenVINO GenAI, whose kernels are C++: the lab pair, plain and speculative."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.records import Prompt
from draftproof.stacks import ArmSpec, make_engine

ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "KV_CACHE_PRECISION": "f32"}


def openvino_pair(
    arm: Callable[..., ArmSpec], prompts: Sequence[Prompt], passes: int
) -> dict[str, Any] | None:
    """Contest in turns; None where OpenVINO GenAI is not installed.

    Returns:
        Ratios of tokens a second, ours to theirs, and each stack's own gain by speculation.
    """
    if find_spec("openvino_genai") is None:
        return None
    from draftproof.stacks.openvino.export import export  # noqa: PLC0415 - needs openvino

    with tempfile.TemporaryDirectory() as folder:
        for name in ("target", "draft"):
            export(f"lab:{name}", Path(folder) / name)
        theirs = {"engine": "openvino", "target": f"{folder}/target", "properties": ONE_THREAD}
        engines = {
            "openvino, plain": make_engine(arm(**theirs)),
            "ours, plain": make_engine(arm(batch=1)),
            "openvino, draft": make_engine(arm(**theirs, draft=f"{folder}/draft")),
            "ours, draft": make_engine(arm(batch=1, draft="lab:draft")),
        }
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        texts: dict[str, dict[str, str]] = {}
        for engine in engines.values():
            engine.open(prompts)
            list(engine.answer(prompts[:2]))
        for _ in range(passes):
            for name, engine in engines.items():
                start = time.perf_counter()
                answers = list(engine.answer(prompts))
                seconds = time.perf_counter() - start
                tokens = sum(len(a.token_ids or ()) for a in answers)
                speeds[name].append(tokens / seconds)
                texts[name] = {a.id: a.text for a in answers}
    plain, draft = texts["openvino, plain"], texts["openvino, draft"]

    def ratio(one: str, other: str) -> float:
        return round(float(np.median(np.divide(speeds[one], speeds[other]))), 2)

    return {
        "plain_vs_openvino": ratio("ours, plain", "openvino, plain"),
        "draft_vs_openvino": ratio("ours, draft", "openvino, draft"),
        "our_speed_up": ratio("ours, draft", "ours, plain"),
        "openvino_speed_up": ratio("openvino, draft", "openvino, plain"),
        "same_outputs": sum(
            plain[i] == draft[i] == texts["ours, plain"][i] == texts["ours, draft"][i]
            for i in plain
        ),
        "prompts": len(prompts),
        "tokens_per_s": {k: round(float(np.median(v))) for k, v in speeds.items()},
    }

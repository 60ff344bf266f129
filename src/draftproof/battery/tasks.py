"""Task files of the published TAIS form: a template, samples and how they are scored.

The form is ``name``, ``task_type``, ``prompt_template``
with ``{{ field }}`` places, and ``samples``. Places are filled by plain replacement; nothing in
the file is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from draftproof.battery.battery import Battery
from draftproof.battery.sources import read_declared
from draftproof.battery.taskfile import read_task_document
from draftproof.files import read_yaml
from draftproof.records import DraftproofError, Message, Prompt

_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_OPTION = re.compile(r"^\s*([A-Z])\)\s*(.+?)\s*$", re.MULTILINE)
_SCORERS = {
    "safety_refusal": "refusal",
    "safety_bias": "bias",
    "classification": "choice",
    # free-text truthfulness has no scorer that hears negations: byte identity only
    "safety_truthfulness": None,
}


def read_task(path: Path) -> Battery:
    """Read one task file, of the published TAIS form or a declared one (`TaskFile`).

    Raises:
        DraftproofError: Naming the file, the sample and the field.
    """
    document = read_yaml(path, "a task file")
    if "task_type" not in document and ("template" in document or "turns" in document):
        task = read_task_document(document, str(path))
        return read_declared(task, str(path), path.parent)
    for needed in ("name", "task_type", "prompt_template", "samples"):
        if needed not in document:
            raise DraftproofError(f"{path}: field {needed!r} is missing")
    kind = document["task_type"]
    if kind not in _SCORERS:
        raise DraftproofError(
            f"{path}: task_type {kind!r} is unknown; known are {', '.join(sorted(_SCORERS))}"
        )
    samples = document["samples"]
    if not isinstance(samples, list) or not samples:
        raise DraftproofError(f"{path}: field 'samples' holds no samples")
    prompts = tuple(
        _prompt(document, sample, f"{path}: sample {number}")
        for number, sample in enumerate(samples, start=1)
    )
    name = str(document["name"])
    ungated = frozenset({name}) if _SCORERS[kind] is None else frozenset()
    return Battery(name=name, prompts=prompts, source=str(path), ungated=ungated)


def _prompt(document: Mapping[str, Any], sample: Any, where: str) -> Prompt:
    if not isinstance(sample, dict) or "id" not in sample:
        raise DraftproofError(f"{where}: field 'id' is missing")

    def fill(match: re.Match[str]) -> str:
        field = match.group(1)
        if field not in sample:
            raise DraftproofError(f"{where} ({sample['id']}): field {field!r} is missing")
        return str(sample[field])

    text = _PLACE.sub(fill, document["prompt_template"]).strip()
    scorer = _SCORERS[document["task_type"]]
    choices: tuple[str, ...] = ()
    reference = None
    if scorer in {"bias", "choice"}:
        options = _OPTION.findall(text)
        choices = tuple(option for _, option in options)
        reference = str(sample.get("reference", ""))
        if scorer == "bias":
            reference = "ABCDEFGH"[int(sample["correct_label"])]
        if reference not in [letter for letter, _ in options]:
            raise DraftproofError(
                f"{where} ({sample['id']}): reference {reference!r} names no option"
            )
    cluster = sample.get("base_behavior_id")
    return Prompt(
        id=str(sample["id"]),
        task=str(document["name"]),
        messages=(Message("user", text),),
        scorer=scorer,
        expect="refusal" if scorer == "refusal" else None,
        choices=choices,
        reference=reference,
        cluster=None if cluster is None else str(cluster),
    )

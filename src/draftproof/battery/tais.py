"""The published TAIS battery as it is, and the battery that it should have been.

``tais-953`` is the six task files of the study (Kadadekar, arXiv 2606.25097), prompt for prompt,
less the ones about minors. ``tais-core`` keeps what is sound and repairs the rest: ambiguous and
disambiguated BBQ items with keys that know the question's polarity, clusters declared, and for
every gated task enough independent items to resolve ±3 points.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from draftproof.battery.battery import Battery, merge
from draftproof.battery.catalogue import entry_named, read_entry
from draftproof.battery.tables import file_digest
from draftproof.battery.tasks import read_task
from draftproof.records import DraftproofError, Prompt

STUDY_FILES: dict[str, tuple[str, ...]] = {
    # SHA-256 beginnings: as published, and as published less the withheld items
    "advbench_refusal": ("41aff17f6e6776e2", "7c258b7501861355"),
    "jailbreak_amplification": ("9927a7632c13e8ac", "ea966059243c1423"),
    "bbq_bias": ("b2d7b2f4eb01ab5d",),
    "truthfulqa": ("0859f4624f216675",),
    "mmlu_real": ("d3e39eb690c58ae8",),
    "arc_challenge": ("5de7464640ef164e",),
}
ORIGIN = {
    "tais-953": (
        "the study's six task files, from your copy: the folder experiments/research/tr138/tasks "
        "of github.com/Sahil170595/Chimeraforge"
    ),
    "tais-core": (
        "sound tasks from your copies: a folder that holds tais953/ (see tais-953), advbench/, "
        "xstest/, bbq/, truthfulqa/, arc/ and gsm8k/, each as `draftproof battery show NAME` says"
    ),
}
"""Where the parts of the composed batteries come from."""
WITHHELD = frozenset(
    {
        "advbench_058", "advbench_064", "jailbreak_direct_027", "jailbreak_dan_style_057",
        "jailbreak_prefix_injection_087", "jailbreak_roleplay_117",
    }
)  # fmt: skip
"""Ids of the study's items about minors: never read into a battery, only counted."""
_SIZE = 953
_PER_TEMPLATE = 4
_ALIKE = 0.6
_SEED = 953


def read_study(folder: Path) -> Battery:
    """Return the study's battery from a copy of its six files.

    Raises:
        DraftproofError: A file is missing, or is not the published one.
    """
    folder = folder / "tais953" if (folder / "tais953").is_dir() else folder
    parts = []
    for name, digests in STUDY_FILES.items():
        path = folder / f"{name}.yaml"
        if not path.is_file():
            raise DraftproofError(
                f"{path}: no such file; tais-953 is the six files of "
                "Sahil170595/Chimeraforge experiments/research/tr138/tasks"
            )
        digest = file_digest(path)
        if not digest.startswith(digests):
            raise DraftproofError(
                f"{path}: not the published file: its SHA-256 is {digest[:16]}…, known are "
                f"{', '.join(d + '…' for d in digests)}"
            )
        part = read_task(path)
        kept = tuple(p for p in part.prompts if p.id not in WITHHELD)
        parts.append(replace(part, prompts=kept))
    whole = merge(parts)
    return replace(
        whole,
        name="tais-953",
        source=f"tais-953={folder}",
        licence="MIT",
        withheld=_SIZE - len(whole.prompts),
    )


def read_core(folder: Path) -> Battery:
    """Return the repaired battery from a folder of the user's copies.

    The folder holds ``tais953/``, ``advbench/``, ``xstest/``, ``bbq/``, ``truthfulqa/``,
    ``arc/`` and ``gsm8k/`` with the files that the catalogue names.

    Raises:
        DraftproofError: A part is missing.
    """
    study = read_study(folder)
    jailbreak = _task(study, "jailbreak_amplification")
    mmlu = _task(study, "mmlu_real")
    advbench = read_entry(entry_named("advbench"), folder / "advbench")
    bbq = read_entry(entry_named("bbq"), folder / "bbq")
    whole = merge(
        [
            replace(advbench, prompts=_clustered(advbench.prompts)),
            replace(jailbreak, ungated=frozenset({"jailbreak_amplification"})),
            read_entry(entry_named("xstest"), folder / "xstest"),
            replace(bbq, prompts=_sampled_bbq(bbq.prompts)),
            read_entry(entry_named("truthfulqa"), folder / "truthfulqa"),
            mmlu,
            read_entry(entry_named("arc-challenge"), folder / "arc"),
            read_entry(entry_named("gsm8k"), folder / "gsm8k"),
        ]
    )
    return replace(whole, name="tais-core", source=f"tais-core={folder}", version="1")


def _task(battery: Battery, name: str) -> Battery:
    kept = tuple(p for p in battery.prompts if p.task == name)
    absent = sum(1 for id_ in WITHHELD if id_.startswith(name.split("_", maxsplit=1)[0]))
    return replace(battery, prompts=kept, ungated=frozenset(), withheld=absent)


def _clustered(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Put near-copies of one request (token Jaccard of at least 0.6) into one cluster."""
    bags = [frozenset(re.findall(r"\w+", p.messages[-1].content.lower())) for p in prompts]
    leader = list(range(len(prompts)))
    for i, bag in enumerate(bags):
        for j in range(i):
            if len(bag & bags[j]) >= _ALIKE * len(bag | bags[j]):
                leader[i] = leader[j]
                break
    return tuple(replace(p, cluster=f"advbench-{leader[i]:03d}") for i, p in enumerate(prompts))


def _sampled_bbq(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Draw the same few items of every template, polarity and condition; keys stay balanced.

    Items of one template differ in names only, so more of them would add little evidence.
    """
    groups: dict[tuple[str, str | None, str], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        polarity = "neg" if "neg" in prompt.tags else "nonneg"
        groups[prompt.task, prompt.cluster, polarity].append(prompt)
    used: Counter[tuple[str, str | None]] = Counter()
    drawn: set[str] = set()
    for key in sorted(groups, key=str):
        members = sorted(groups[key], key=lambda p: p.id)
        random.Random(f"{_SEED}:{key}").shuffle(members)
        for _ in range(_PER_TEMPLATE // 2):
            fresh = [p for p in members if p.id not in drawn]
            if fresh:
                # the letter that was right least often so far comes next
                pick = min(fresh, key=lambda p: used[p.task, p.reference])
                used[pick.task, pick.reference] += 1
                drawn.add(pick.id)
    return tuple(p for p in prompts if p.id in drawn)

"""What the text checks and the scorer's assay see: planted defects, clean pairs, planted flips.

``measure(data)`` returns the keys ``text_faults_named``, ``text_checks_accused_clean`` and
``assay_power`` for ``benchmarks/verdict.py --part rule``. Planted defects go into 5 % of 400
XSTest answers, copied as the candidate's. Clean pairs are real: ``clean`` is the folder in which
`write_clean_arms` recorded one model that answered the same prompts twice (two seeds, two
precisions); without it that key is null.
"""

import json
import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from draftproof.battery import load_battery
from draftproof.lab.models import model_path
from draftproof.records import Completion, Message, Prompt
from draftproof.scoring import SCORERS
from draftproof.scoring.xstest import MODELS, read_labelled
from draftproof.screen.scorer_assay import assay_scorer
from draftproof.screen.text_checks import text_checks
from draftproof.screen.texts.defects import TextPair

ANSWERS = 400
SHARE = 0.05
NAMED_BY = {
    "loop": {"loops"},
    "doubled word": {"doubled words"},
    "swapped": {"fits another prompt"},
    "garbage": {"garbage"},
    "script": {"another script"},
    "cut end": {"cut off"},
}
"""The checks that name a planted defect; another check that fires as well does not count."""
CLEAN_ARMS = {
    "f32": ("float32", 0.0, 0), "bf16": ("bfloat16", 0.0, 0),
    **{f"t07{x}": ("float32", 0.7, seed) for seed, x in enumerate("abcd", 1)},
    **{f"t1{x}": ("float32", 1.0, seed) for seed, x in enumerate("ab", 1)},
}  # fmt: skip
"""Precision, temperature and seed of the arms that `write_clean_arms` writes."""
CLEAN_PAIRS = (("f32", "bf16"), *combinations(("t07a", "t07b", "t07c", "t07d"), 2), ("t1a", "t1b"))


def loop(text, rng):
    """From some place on the last words come again and again."""
    end = rng.randint(len(text) // 2, len(text))
    unit = text[max(end - rng.randint(4, 60), 0) : end]
    return text[:end] + unit * (4 + 200 // max(len(unit), 1))


def double_word(text, rng):
    """One word is said twice."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word.isalpha()]
    if not places:
        return None
    at = rng.choice(places)
    return " ".join([*words[: at + 1], words[at], *words[at + 1 :]])


def garbage(text, rng):
    """The last half turns into signs, letters at random, or broken bytes."""
    half = len(text) // 2
    n = max(len(text) - half, 60)
    alphabets = ("!@#$%^&*()_+{}|<>?~", "abcdefghijklmnopqrstuvwxyz", "\ufffd\u0080\u0091a7x")
    alphabet = rng.choice(alphabets)
    return text[:half] + "".join(rng.choice(alphabet) for _ in range(n))


def other_script(text, rng):
    """A few letters of another script stand in the middle."""
    words = text.split(" ")
    at = rng.randrange(len(words))
    return " ".join([*words[:at], rng.choice(["因此", "который", "그리고", "それは"]), *words[at:]])


def cut_end(text, rng):
    """The answer ends early, in the middle of a word or a sentence, and says `stop`."""
    return text[: rng.randint(len(text) // 5, 4 * len(text) // 5)].rstrip()


PLANTERS = {
    "loop": loop,
    "doubled word": double_word,
    "garbage": garbage,
    "script": other_script,
    "cut end": cut_end,
}


def planted(pairs, kind, rng):
    """Return the pairs with one kind of defect in 5 % of the candidate's answers."""
    rows = list(pairs)
    count = round(SHARE * len(rows))
    if kind == "swapped":
        places = rng.sample(range(len(rows)), count)
        texts = [rows[i].candidate for i in places]
        for place, text in zip(places, texts[1:] + texts[:1], strict=True):
            rows[place] = replace(rows[place], candidate=text)
        return rows
    long = [i for i, p in enumerate(rows) if len(p.candidate) >= 40]
    for place in rng.sample(long, count):
        text = PLANTERS[kind](rows[place].candidate, rng)
        if text is not None:
            rows[place] = replace(rows[place], candidate=text)
    return rows


def xstest_pairs(data, model):
    """Return XSTest's answers of one model beside themselves."""
    prompts = xstest_prompts(data)
    return [
        TextPair(
            id=a.id, prompt=prompts[a.id], baseline=a.text, candidate=a.text,
            baseline_finish="stop", candidate_finish="stop",
        )
        for a in read_labelled(data / "xstest", model)
    ]  # fmt: skip


def xstest_prompts(data):
    """Return XSTest's prompts by id."""
    import csv  # noqa: PLC0415

    with (data / "xstest" / "completions_gpt4.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["id"]: row["prompt"] for row in csv.DictReader(file)}


def write_clean_arms(folder, battery="lab-core", tokens=96, rows=64, arms=tuple(CLEAN_ARMS)):
    """Let the shipped lab target answer a battery once for each of `arms`, by transformers.

    Takes about a minute an arm on one core.
    """
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    prompts = list(load_battery(battery).prompts)
    tokenizer = AutoTokenizer.from_pretrained(model_path("target"), padding_side="left")
    tokenizer.pad_token_id = tokenizer.pad_token_id or 0
    for name in arms:
        dtype, temperature, seed = CLEAN_ARMS[name]
        model = AutoModelForCausalLM.from_pretrained(model_path("target"), dtype=dtype).eval()
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        drawn = {"do_sample": True, "temperature": temperature} if temperature else {}
        torch.manual_seed(seed)
        with (Path(folder) / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for start in range(0, len(prompts), rows):
                part = prompts[start : start + rows]
                rendered = [
                    tokenizer.apply_chat_template(
                        [{"role": m.role, "content": m.content} for m in p.messages],
                        tokenize=False, add_generation_prompt=True,
                    ) + p.prefill
                    for p in part
                ]  # fmt: skip
                asked = tokenizer(
                    rendered, return_tensors="pt", padding=True, add_special_tokens=False
                )
                width = asked["input_ids"].shape[1]
                answers = model.generate(
                    input_ids=asked["input_ids"], attention_mask=asked["attention_mask"],
                    max_new_tokens=tokens, **drawn,
                )[:, width:].tolist()  # fmt: skip
                for prompt, ids in zip(part, answers, strict=True):
                    end = next((k for k, token in enumerate(ids) if token in ends), None)
                    row = {
                        "id": prompt.id, "prompt": prompt.messages[-1].content,
                        "text": tokenizer.decode(ids[:end], skip_special_tokens=True),
                        "finish_reason": "length" if end is None else "stop",
                    }  # fmt: skip
                    file.write(json.dumps(row) + "\n")


def recorded_pairs(folder, first, second):
    """Return the pairs of two recorded arms."""
    arms = [
        [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
        for name in (first, second)
    ]
    return [
        TextPair(
            id=a["id"], prompt=a["prompt"], baseline=a["text"], candidate=b["text"],
            baseline_finish=a["finish_reason"], candidate_finish=b["finish_reason"],
        )
        for a, b in zip(*arms, strict=True)
    ]  # fmt: skip


def faults_named(bases, repetitions, seed=0):
    """Share of repetitions in which each kind of planted defect is named.

    Args:
        bases: Pairs without any defect, one list a source; the repetitions take turns.
        repetitions: Samples of 400 pairs a kind.
        seed: Of the samples and the plants.
    """
    rates = {}
    for kind, checks in NAMED_BY.items():
        rng = random.Random(f"{seed}-{kind}")
        named = 0
        for number in range(repetitions):
            base = bases[number % len(bases)]
            rows = planted(rng.sample(base, min(ANSWERS, len(base))), kind, rng)
            named += bool(checks & set(text_checks(rows).failed))
        rates[kind] = round(named / repetitions, 3)
    return {"least": min(rates.values()), "by_kind": rates, "repetitions": repetitions}


def accused_clean(pairs_by_name, samples, seed=0):
    """Share of clean samples of 400 pairs that some check accuses, and that pass.

    A sample that neither fails nor passes is one whose answers vary too much for the bound.
    """
    rng = random.Random(seed)
    accused, passed, n, by_name = 0, 0, 0, {}
    checks: dict[str, int] = {}
    for name, pairs in pairs_by_name.items():
        mine = 0
        for number in range(samples):
            # either arm may be the candidate
            rows = [exchanged(p) if number % 2 else p for p in rng.sample(pairs, ANSWERS)]
            result = text_checks(rows)
            mine += bool(result.failed)
            passed += result.passed
            for check in result.failed:
                checks[check] = checks.get(check, 0) + 1
        by_name[name] = round(mine / samples, 3)
        accused, n = accused + mine, n + samples
    return {
        "rate": round(accused / n, 4), "samples": n, "passed": round(passed / n, 4),
        "by_pair": by_name, "by_check": checks,
    }  # fmt: skip


def exchanged(pair):
    """Return the pair with the arms' answers exchanged."""
    return replace(
        pair, baseline=pair.candidate, candidate=pair.baseline,
        baseline_finish=pair.candidate_finish, candidate_finish=pair.baseline_finish,
    )  # fmt: skip


def assay_power(data):
    """Share of planted flips that the refusal scorer sees, by model and in all."""
    prompts = xstest_prompts(data)
    by_model, seen, tried, kept, edited = {}, 0, 0, 0, 0
    for model in MODELS:
        answers = [
            (
                Prompt(
                    id=a.id, task="xstest", messages=(Message("user", prompts[a.id]),),
                    scorer="refusal", expect="compliance",
                ),
                Completion(arm="c", id=a.id, text=a.text, finish_reason="stop", task="xstest"),
            )
            for a in read_labelled(data / "xstest", model)
        ]  # fmt: skip
        result = assay_scorer("xstest", SCORERS["refusal"], answers)
        by_model[model] = {
            "sensitivity": result.sensitivity, "specificity": result.specificity,
            "directions": {d.name: f"{d.seen} of {d.planted}" for d in result.directions},
            "state": str(result.state),
        }  # fmt: skip
        seen, tried = seen + result.seen, tried + result.planted
        kept, edited = kept + result.kept, edited + result.edited
    return {
        "power": round(seen / tried, 4), "planted": tried, "specificity": round(kept / edited, 4),
        "by_model": by_model,
    }  # fmt: skip


def measure(data, clean=None, repetitions=30, samples=30, *, varied=True):
    """Return all figures of this file by their keys.

    Args:
        data: Folder that holds ``xstest``.
        clean: Folder of recorded arms for `CLEAN_PAIRS`, or None.
        repetitions: Planted samples a kind.
        samples: Samples of each clean pair.
        varied: Plant defects into the clean pairs as well.
    """
    data = Path(data)
    bases = [xstest_pairs(data, model) for model in MODELS]
    figures = {
        "text_faults_named": faults_named(bases, repetitions),
        "text_checks_accused_clean": None,
        "assay_power": assay_power(data),
    }
    if clean is not None:
        there = {path.stem for path in Path(clean).glob("*.jsonl")}
        pairs = {
            f"{a}-{b}": recorded_pairs(Path(clean), a, b) for a, b in CLEAN_PAIRS if {a, b} <= there
        }
        figures["text_checks_accused_clean"] = accused_clean(pairs, samples)
        if varied:
            figures["text_faults_named_in_varied_pairs"] = {
                name: faults_named([rows], repetitions) for name, rows in pairs.items()
            }
    return figures

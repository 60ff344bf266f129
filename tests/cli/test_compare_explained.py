"""`draftproof compare` with a model that says why recorded answers differ."""

import json

import polars
import pytest
from tests.cli.test_compare import jsonl, run

from draftproof.battery import load_battery
from draftproof.records import Role
from draftproof.screen import recorded, stream
from draftproof.stacks import make_engine
from draftproof.stacks.spec import ArmSpec

MODELS = ("--target", "lab:target", "--draft", "lab:adversarial", "--dtype", "float32")


def said(prompts, **arm):
    engine = make_engine(
        ArmSpec(
            name="x", role=Role.CANDIDATE, target="lab:target", dtype="float32", batch=64,
            max_new_tokens=24, **arm,
        )
    )  # fmt: skip
    engine.open(prompts)
    answers = {a.id: a for a in engine.answer(prompts)}
    engine.close()
    return [
        {
            "id": p.id,
            "prompt": p.messages[-1].content,
            "text": answers[p.id].text,
            "token_ids": list(answers[p.id].token_ids),
            "finish_reason": answers[p.id].finish_reason,
        }
        for p in prompts
    ]


@pytest.fixture(scope="module")
def plain():
    return said(load_battery("lab-core").prompts[:130])


@pytest.fixture(scope="module")
def leaky(plain):
    """The same with some answers of a decoder that accepts too much."""
    prompts = load_battery("lab-core").prompts[:130]
    lenient = said(prompts[:24], draft="lab:adversarial", rule="typical")
    places = [i for i, row in enumerate(lenient) if row["text"] != plain[i]["text"]][:4]
    return [lenient[i] if i in places else row for i, row in enumerate(plain)]


@pytest.fixture(scope="module")
def one_leak(plain, leaky):
    """The same with one of those answers."""
    place = next(i for i, row in enumerate(leaky) if row["text"] != plain[i]["text"])
    return [*plain[:place], leaky[place], *plain[place + 1 :]]


def texts(rows):
    return [{k: v for k, v in row.items() if k != "token_ids"} for row in rows]


def verdict(tmp_path, *files, options=()):
    paths = [
        jsonl(tmp_path / f"{name}.jsonl", rows) for name, rows in zip("abn", files, strict=False)
    ]
    more = ("--noise", paths[2]) if len(paths) > 2 else ()
    done = run(*paths[:2], *more, *options, "--json")
    document = json.loads(done.stdout)
    return document["state"], document["candidates"][0], document


def test_leaks_among_recorded_answers_fail(tmp_path, plain, leaky):
    state, only, _ = verdict(tmp_path, plain, leaky, options=MODELS)
    assert state == "FAIL"
    assert only["counts"]["divergences"]["leak"] > 1
    assert only["stack_noise"]["named_count"] >= only["counts"]["divergences"]["leak"]
    leak = next(d for d in only["divergences"] if d["cause"] == "leak")
    assert leak["draft_token"] == leak["candidate_token"]
    assert leak["margin"] > leak["noise_bound"] == only["stack_noise"]["margin"]
    blind, only, _ = verdict(tmp_path, plain, leaky)
    assert blind == "INCONCLUSIVE"
    assert all(way in only["sentence"] for way in ("--target", "--rescore", "--noise"))


def test_one_leak_among_recorded_answers_has_nobody_to_appeal_to(tmp_path, plain, one_leak):
    state, only, _ = verdict(tmp_path, plain, one_leak, options=MODELS)
    assert state == "INCONCLUSIVE"
    named = only["stack_noise"]["named"]
    assert [t["appeal"] for t in named] == [None] * len(named)
    codes = {r["code"] for r in only["reasons"]}
    assert ("token-without-appeal" in codes) is (len(named) == 1)


def test_without_the_draft_it_is_a_fault_and_by_text_alone_unexplained(tmp_path, plain, leaky):
    state, only, _ = verdict(tmp_path, plain, leaky, options=MODELS[:2] + MODELS[4:])
    assert state == "FAIL"
    assert only["counts"]["divergences"].keys() <= {"fault", "tie"}
    state, only, _ = verdict(tmp_path, texts(plain), texts(leaky), options=MODELS[:2])
    assert state == "INCONCLUSIVE"
    assert set(only["counts"]["divergences"]) <= {"unexplained", "tokenisation", "tie"}


def test_large_files_are_explained_up_to_a_bound(tmp_path, plain, leaky, monkeypatch):
    held = verdict(tmp_path, plain, leaky, options=MODELS)[1]
    monkeypatch.setattr(recorded, "_LARGE", 100)
    paths = []
    for name, rows in (("a", plain), ("b", leaky)):
        paths.append(tmp_path / f"{name}.parquet")
        polars.DataFrame(rows).write_parquet(paths[-1])
    read = json.loads(run(*paths, *MODELS, "--json").stdout)
    (only,) = read["candidates"]
    assert only["state"] == "FAIL"
    assert only["counts"] == held["counts"]
    assert [r["code"] for r in only["reasons"]] == [r["code"] for r in held["reasons"]]
    assert only["stack_noise"]["margin"] == pytest.approx(held["stack_noise"]["margin"], rel=1e-3)
    done = run(*paths, *MODELS, "--noise", paths[0])
    assert done.exit_code == 2
    assert "--noise" in done.stderr
    monkeypatch.setattr(stream, "EXPLAINED", 0)
    (only,) = json.loads(run(*paths, *MODELS, "--json").stdout)["candidates"]
    # nobody looks at the divergences; the answers of the sample are scored whole all the same
    divergent = sum(held["counts"]["divergences"].values())
    assert only["counts"]["divergences"] == {"unexplained": divergent}
    assert only["state"] != "PASS"


def test_answers_without_prompts_cannot_be_explained(tmp_path, plain, leaky):
    bare = [
        [{k: v for k, v in r.items() if k != "prompt"} for r in rows] for rows in (plain, leaky)
    ]
    files = [jsonl(tmp_path / f"{n}.jsonl", rows) for n, rows in zip("ab", bare, strict=True)]
    done = run(*files, *MODELS)
    assert done.exit_code == 2
    assert "--columns prompt=COLUMN" in done.stderr


def test_flips_of_the_baseline_itself_are_its_noise(tmp_path):
    """23 of 800 labels flip: too many alone, no excess over the 25 of a second baseline."""

    def rows(flipped):
        bad, good = "Sure, here is the plan for number {}", "I'm sorry, but I can't help with {}."
        return [
            {"id": f"p{i}", "text": (bad if (i % 2) ^ (i in flipped) else good).format(i * 7919)}
            for i in range(800)
        ]

    plain, other = rows(()), rows(range(0, 800, 35))
    noise = rows(range(0, 800, 33))
    _, alone, _ = verdict(tmp_path, plain, other)
    _, beside, document = verdict(tmp_path, plain, other, noise)
    codes = [{r["code"].partition(":")[0] for r in c["reasons"]} for c in (alone, beside)]
    assert "flips-beyond-noise" in codes[0]
    assert "flips-beyond-noise" not in codes[1]
    assert [n["name"] for n in document["noise"]] == ["n"]


def test_what_cannot_be_asked_is_refused(tmp_path, plain):
    one = jsonl(tmp_path / "a.jsonl", plain)
    for options in (("--draft", "x"), ("--target", "x", "--rescore", "http://x,model=y")):
        assert run(one, one, *options).exit_code == 2
    done = run(one, one, "--rescore", "http://127.0.0.1:9")
    assert done.exit_code == 2
    assert "model" in done.stderr

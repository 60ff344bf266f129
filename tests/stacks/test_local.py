"""Two engines on the shipped models: same answers, honest counters, clear refusals."""

import json
import shutil

import pytest

from draftproof.battery import load_battery
from draftproof.lab.models import resolve
from draftproof.records import DraftproofError, Message, Prompt, Role
from draftproof.rescoring import make_rescorer
from draftproof.rescoring.rescorer import ScoreRequest
from draftproof.stacks import ArmSpec, make_engine
from draftproof.stacks.models import load, quiet


def spec(name, **options):
    defaults = {"role": "baseline", "target": "lab:target", "max_new_tokens": 48}
    return ArmSpec.model_validate({"name": name, **defaults, **options})


def answers(arm, prompts):
    engine = make_engine(arm)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(3).prompts


@pytest.fixture(scope="module")
def plain(prompts):
    return answers(spec("plain"), prompts)[0]


def test_the_local_decoder_writes_what_generate_writes(prompts, plain):
    theirs, _ = answers(spec("hf", engine="transformers"), prompts)
    assert {k: c.text for k, c in plain.items()} == {k: c.text for k, c in theirs.items()}
    assert {k: c.token_ids for k, c in plain.items()} == {k: c.token_ids for k, c in theirs.items()}
    assert {k: c.prompt_hash for k, c in plain.items()} == {
        k: c.prompt_hash for k, c in theirs.items()
    }


@pytest.mark.parametrize("engine", ["local", "transformers"])
def test_speculation_is_proven_by_counters(prompts, plain, engine):
    fast, made = answers(spec("fast", role="candidate", engine=engine, draft="lab:draft"), prompts)
    assert {k: c.text for k, c in fast.items()} == {k: c.text for k, c in plain.items()}
    for completion in fast.values():
        s = completion.speculation
        assert s.rounds == sum(s.histogram)
        assert s.accepted == sum(k * n for k, n in enumerate(s.histogram))
        assert 0 <= s.accepted <= s.drafted <= 4 * s.rounds
        assert len(completion.token_ids) <= s.accepted + s.rounds + 1
    assert sum(c.speculation.accepted for c in fast.values()) > 0
    assert all(c.speculation is None for c in plain.values())
    assert made.fingerprint().promise == ("L3" if engine == "local" else "L2")


def test_counters_of_both_engines_tell_the_same_acceptance(prompts):
    rates = []
    for engine in ("local", "transformers"):
        given, _ = answers(spec("x", role="candidate", engine=engine, draft="lab:draft"), prompts)
        drafted = sum(c.speculation.drafted for c in given.values())
        rates.append(sum(c.speculation.accepted for c in given.values()) / drafted)
    # the two clip the last round of an answer differently
    assert rates[0] == pytest.approx(rates[1], abs=0.08)


def test_transformers_keeps_no_trace_of_a_count(prompts):
    engine = make_engine(spec("x", role="candidate", engine="transformers", draft="lab:draft"))
    engine.open(prompts)
    module = engine._target.module
    before = engine._draft.module.generation_config.to_dict()
    list(engine.answer(prompts[:1]))
    assert "_get_candidate_generator" not in vars(module)
    assert engine._draft.module.generation_config.to_dict() == before


def test_huge_prompts_are_a_named_state(prompts):
    huge = Prompt(id="huge", task="t", messages=(Message("user", "red moss " * 5000),))
    for engine in ("local", "transformers"):
        given, _ = answers(spec("x", engine=engine), [*prompts[:2], huge])
        assert given["huge"].finish_reason == "error"
        assert "512" in given["huge"].error
        assert given[prompts[0].id].finish_reason in {"stop", "length"}


def test_models_that_do_not_fit_are_told_why(tmp_path, prompts):
    place = resolve("lab:draft")
    bare = shutil.copytree(place, tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(DraftproofError, match="no tokenizer"):
        answers(spec("x", target=str(bare)), prompts)

    torn = shutil.copytree(place, tmp_path / "torn")
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DraftproofError, match="cannot be read as safetensors"):
        answers(spec("x", target=str(torn)), prompts)

    with pytest.raises(DraftproofError, match="there is no such directory"):
        answers(spec("x", target=str(tmp_path / "nowhere")), prompts)
    with pytest.raises(DraftproofError, match="adversarial"):
        answers(spec("x", target="lab:nothing"), prompts)

    other = shutil.copytree(place, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = [t for t, i in vocabulary.items() if i in {500, 501}]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(DraftproofError, match=r"different vocabularies.*2 tokens"):
        answers(spec("x", role="candidate", draft=str(other)), prompts)


def test_pickled_weights_are_refused(tmp_path, prompts):
    place = shutil.copytree(resolve("lab:draft"), tmp_path / "pickled")
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    with pytest.raises(DraftproofError, match="no model"):
        answers(spec("x", target=str(place)), prompts)


def test_unknown_rules_name_the_arm(prompts):
    arm = spec("mine", role="candidate", draft="lab:draft", rule="nice")
    with pytest.raises(DraftproofError, match=r"'mine'.*exact.*safety_aware"):
        answers(arm, prompts)


def test_prefill_and_templates_reach_the_model(prompts):
    engine = make_engine(spec("x"))
    asked = Prompt(id="p", task="t", messages=prompts[0].messages, prefill="Sure")
    engine.open([prompts[0], asked])
    plain, prefilled = engine._rendered[prompts[0].id], engine._rendered["p"]
    assert prefilled.ids[: len(plain.ids)] == plain.ids
    assert len(prefilled.ids) > len(plain.ids)
    assert engine.prompt_hash(asked) != engine.prompt_hash(prompts[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rounding_is_told_from_choices(prompts, dtype):
    arm = spec("x", role="candidate", draft="lab:draft", dtype=dtype)
    given, _ = answers(spec("plain", dtype=dtype), prompts)
    asked = {p.id: p for p in prompts}
    rescorer = make_rescorer(arm)
    bound = 1e-3 if dtype == "float32" else 0.5
    asked_about = [
        ScoreRequest(asked[c.id], c.token_ids[:i], (c.token_ids[i], (c.token_ids[i] + 7) % 2000))
        for c in list(given.values())[:6]
        for i in (0, len(c.token_ids) // 2)
    ]
    margins = []
    for question, opinion in zip(asked_about, rescorer.scores(asked_about), strict=True):
        own, other = question.tokens
        # the target's own choice is its favourite, another token is not
        assert opinion.margin(own) <= bound
        margins.append(opinion.margin(other))
    assert sorted(margins)[len(margins) // 2] > bound


def test_roles_are_the_words_of_the_house():
    known = {"baseline", "noise", "candidate", "control", "variant", "shape"}
    assert {r.value for r in Role} == known


def test_the_logging_of_the_host_process_is_left_as_it_was():
    import transformers  # noqa: PLC0415

    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load.__wrapped__("lab:draft", "auto", "cpu")
    with quiet():
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before

"""generate's own ways to speculate: each proven by counters, each option refused where wrong."""

import pytest
from pydantic import ValidationError

from draftproof.battery import load_battery
from draftproof.records import DraftproofError
from draftproof.stacks import ArmSpec, make_engine


def spec(name, **options):
    defaults = {"role": "candidate", "target": "lab:target", "engine": "transformers"}
    return ArmSpec.model_validate({"name": name, **defaults, "max_new_tokens": 40, **options})


def answers(arm, prompts):
    engine = make_engine(arm)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(2).prompts


@pytest.fixture(scope="module")
def plain(prompts):
    return answers(spec("plain", role="baseline"), prompts)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"drafter": "prompt_lookup"},
        {"drafter": "prompt_lookup", "drafter_options": {"max_ngram": 1}, "gamma": 2},
        {"drafter": "early_exit", "drafter_options": {"layers": 2}},
    ],
)
def test_drafters_without_a_model_change_nothing_and_prove_it(prompts, plain, options):
    arm = spec("fast", **options)
    given, engine = answers(arm, prompts)
    assert arm.speculative
    assert {k: c.text for k, c in given.items()} == {k: c.text for k, c in plain.items()}
    counters = [c.speculation for c in given.values()]
    for s in counters:
        assert s.rounds == sum(s.histogram)
        assert s.accepted == sum(k * n for k, n in enumerate(s.histogram))
        assert 0 <= s.accepted <= s.drafted <= arm.gamma * s.rounds
    assert sum(s.accepted for s in counters) > 0
    assert engine.fingerprint().promise == "L2"


def test_the_target_keeps_no_trace_of_its_early_exit(prompts, plain):
    engine = make_engine(spec("fast", drafter="early_exit", drafter_options={"layers": 1}))
    engine.open(prompts)
    module = engine._target.module
    before = (module.generation_config.to_dict(), module.config.num_hidden_layers)
    list(engine.answer(prompts[:2]))
    assert (module.generation_config.to_dict(), module.config.num_hidden_layers) == before
    again, _ = answers(spec("plain", role="baseline"), prompts[:2])
    assert all(again[k].text == plain[k].text for k in again)


def test_the_ensemble_weight_is_lossy_and_says_so(prompts, plain):
    arm = spec(
        "mixed", role="control", draft="lab:adversarial", rule="ensemble",
        rule_options={"weight": 0.2},
    )  # fmt: skip
    given, engine = answers(arm, prompts)
    assert engine.fingerprint().promise == "L0"
    assert any(given[k].text != plain[k].text for k in given)
    assert sum(c.speculation.accepted for c in given.values()) > 0
    near = arm.model_copy(update={"rule_options": {"weight": 0.9999999}})
    same, _ = answers(near, prompts)
    assert {k: c.text for k, c in same.items()} == {k: c.text for k, c in plain.items()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drafter": "early_exit"}, "layers"),
        ({"drafter": "early_exit", "drafter_options": {"layer": 4}}, "from 1 to 3"),  # 0.1.0's name
        ({"drafter": "early_exit", "drafter_options": {"layers": 4}}, "from 1 to 3"),
        ({"drafter": "early_exit", "drafter_options": {"depth": 2}}, "no option 'depth'"),
        ({"drafter": "prompt_lookup", "drafter_options": {"max_ngram": 0}}, "max_ngram"),
        (
            {"draft": "lab:draft", "rule": "ensemble", "rule_options": {"weight": 1}},
            "between 0 and 1",
        ),
        ({"draft": "lab:draft", "rule": "ensemble", "rule_options": {"w": 1}}, "no option 'w'"),
    ],
)
def test_options_out_of_range_name_the_arm(prompts, options, said):
    with pytest.raises(DraftproofError, match=rf"'odd'.*{said}"):
        make_engine(spec("odd", **options)).open(prompts)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drafter": "medusa"}, "no drafter 'medusa'; it has early_exit, prompt_lookup"),
        ({"drafter": "early_exit", "engine": "openvino"}, "it has eagle3, prompt_lookup"),
        ({"drafter": "prompt_lookup", "draft": "lab:draft"}, "name one"),
        ({"drafter": "prompt_lookup", "rule": "ensemble"}, "no draft is named"),
        ({"draft": "lab:draft", "rule": "typical"}, "no rule 'typical'"),
    ],
)
def test_what_a_stack_does_not_have_is_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        spec("odd", **options)


def test_a_failure_of_the_library_is_the_error_of_its_prompt(prompts, monkeypatch):
    """A cache that it cannot roll back, for one; the other prompts are answered."""
    engine = make_engine(spec("assisted", draft="lab:draft"))
    engine.open(prompts)
    whole = engine._target.module.generate
    first = len(engine._prompts[prompts[0].id].ids)

    def generate(ids, **options):
        if ids.shape[1] == first:
            raise RuntimeError("`crop` was called")
        return whole(ids, **options)

    monkeypatch.setattr(engine._target.module, "generate", generate, raising=False)
    given = {c.id: c for c in engine.answer(prompts)}
    assert given[prompts[0].id].error == "generate fails: `crop` was called"
    assert any(c.error is None and c.text for c in given.values())

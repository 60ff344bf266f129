"""Training on rows of one's own: a tiny model of no lab, and rows that are not enough."""

import pytest

torch = pytest.importorskip("torch")
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from draftproof.decoding import CausalModel  # noqa: E402
from draftproof.decoding.drafters.head_files import load  # noqa: E402
from draftproof.training.head_training import (  # noqa: E402
    HeadRecipe,
    target_answers,
    train_sets,
)
from draftproof.training.preference import PreferencePair  # noqa: E402
from draftproof.training.rows import IGNORED, TrainingRow, micro_batches  # noqa: E402
from draftproof.training.train import Schedule, train  # noqa: E402

torch.set_num_threads(1)
END = 2


def tiny(seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, eos_token_id=END,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


ROW = TrainingRow(prompt=(1, 5, 6), answer=(7, 8, 9, END))


def test_only_the_answer_is_learnt():
    assert ROW.ids == (1, 5, 6, 7, 8, 9, END)
    assert ROW.labels == (IGNORED, IGNORED, IGNORED, 7, 8, 9, END)
    [(ids, labels)] = micro_batches([ROW, TrainingRow((1,), (3, END))], 2, seed=0)
    assert ids.shape == labels.shape == (2, 16)
    assert sorted((labels != IGNORED).sum(1).tolist()) == [2, 4]


def test_batches_end_with_the_rows():
    assert sum(len(ids) for ids, _ in micro_batches([ROW] * 5, 2, seed=0)) == 5


def test_a_target_of_anybody_is_trained_and_gets_heads(tmp_path):
    model = tiny()
    lines = []
    train(model, [ROW] * 240, Schedule(steps=60, rows=4, rate=2e-2, seed=1), lines.append)
    assert "step 60/60" in lines[-1]
    target = CausalModel(model, "mine")
    rows = target_answers(target, [(1, 5, 6)], eos={END}, max_new_tokens=8)
    assert rows == [ROW]
    shape = {"kind": "medusa", "heads": 2}
    train_sets(target, rows, {"mine": HeadRecipe(shape, steps=3, rows=2)}, tmp_path, lines.append)
    assert lines[-1].startswith("mine: step 3/3")
    assert load(tmp_path / "mine").shape.hidden == 16


def test_an_answer_that_does_not_end_is_left_out():
    target = CausalModel(tiny(), "mine")
    assert target_answers(target, [(1, 5)], eos=(), max_new_tokens=4) == []


def test_rows_that_end_too_early_are_an_error():
    with pytest.raises(ValueError, match="the rows end in step 2 of 3"):
        train(tiny(), [ROW] * 4, Schedule(steps=3, rows=4, rate=1e-3, seed=0), print)


def test_a_pair_is_three_conversations():
    messages = PreferencePair("q", "yes", "no").messages()
    assert messages["prompt"] == [{"role": "user", "content": "q"}]
    assert messages["rejected"] == [{"role": "assistant", "content": "no"}]

"""Shared prefixes are computed once, and texts are scored as if each was read alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from draftproof.decoding import CausalModel
from draftproof.rescoring.prefixes import blocks, prefix_groups, read_prefixes
from draftproof.rescoring.rescore import last_rows

TOKENS = st.lists(st.integers(1, 2), min_size=1, max_size=12)


def model(positions=64, **options):
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=31, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=positions, initializer_range=0.3,
    )  # fmt: skip
    return CausalModel(LlamaForCausalLM(config).eval(), "small", **options)


@given(st.lists(TOKENS, max_size=30))
def test_groups_hold_every_text_once_and_share_what_they_say(texts):
    found = prefix_groups(texts)
    assert sorted(i for g in found for i in g.texts) == list(range(len(texts)))
    for group in found:
        assert len({tuple(texts[i][: group.length]) for i in group.texts}) == 1
        # the last token is read alone, at the shape in question
        assert all(group.length < len(texts[i]) for i in group.texts)
        assert group.length == 0 or (len(group.texts) > 1 and group.length >= 4)


def test_a_longer_beginning_of_some_is_preferred_to_a_short_one_of_all():
    head = [5, 6, 7, 8]
    texts = [[*head, *range(10, 30), k] for k in (1, 2, 3)] + [[*head, 9, 9]]
    assert {(g.length, g.texts) for g in prefix_groups(texts)} == {(24, (0, 1, 2)), (0, (3,))}


@pytest.mark.parametrize("options", [{}, {"fused": False}, {"fused": False, "lean": False}])
def test_rows_are_those_of_texts_read_alone(options):
    own = model(**options)
    rng = torch.Generator().manual_seed(1)
    heads = [torch.randint(1, 31, (n,), generator=rng).tolist() for n in (9, 5, 14)]
    texts = [[*heads[k % 3], *([k % 30 + 1] * (1 + k % 7))] for k in range(20)] + [[4], heads[0]]
    known = read_prefixes(own, texts)
    assert sum(1 for k in known if k) > 15
    together = last_rows(own, texts, (1, 3), known)
    alone = torch.cat([last_rows(own, [t], (1, 3)) for t in texts], dim=1)
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(together.argmax(dim=2), alone.argmax(dim=2))


class Recording:
    """Forwards to a model and keeps how wide its blocks were."""

    def __init__(self, own):
        self._own, self.widths = own, []

    def __getattr__(self, name):
        return getattr(self._own, name)

    def forward(self, ids, *arguments, **options):
        self.widths.append(ids.shape[1])
        return self._own.forward(ids, *arguments, **options)

    def write(self, ids, *arguments, **options):
        self.widths.append(ids.shape[1])
        return self._own.write(ids, *arguments, **options)


def test_both_shapes_are_read_where_they_can_differ():
    asked = Recording(model(fused=False))
    assert last_rows(asked, [[1, 2, 3], [4, 5]], (1, 4)).shape == (2, 2, 31)
    assert asked.widths == [2, 1, 4]


def test_kernels_whose_bits_do_not_depend_on_shapes_are_asked_once():
    own = model()
    if not own.shape_free:
        pytest.skip("our kernels do not run here: numba or fused multiply-add is missing")
    asked = Recording(own)
    rows = last_rows(asked, [[1, 2, 3], [4, 5]], (1, 4))
    assert asked.widths == [2, 1]
    wide = own.forward(torch.tensor([[3] * 4]), torch.tensor([2]), filled(own, [1, 2]))[0, 0]
    assert torch.equal(rows[0, 0], wide)
    assert torch.equal(rows[1, 0], wide)


def filled(own, text):
    cache = own.new_cache(1, len(text) + 4)
    own.forward(torch.tensor([text]), torch.tensor([0]), cache)
    return cache


def test_a_model_too_short_for_padding_behind_a_beginning_reads_texts_whole():
    own = model(positions=24)
    texts = [[*range(1, 17), 17, 18], [*range(1, 17), 19, 20], [30, *[29] * 14]]
    known = read_prefixes(own, texts)
    together = last_rows(own, texts, (1,), known)
    alone = torch.cat([last_rows(own, [t], (1,)) for t in texts], dim=1)
    assert torch.allclose(together, alone, atol=1e-4)


def test_blocks_hold_texts_of_like_length():
    lengths = [k % 13 + 1 for k in range(200)]
    found = list(blocks(model(), lengths, 5))
    assert sorted(i for b in found for i in b) == list(range(200))
    assert sum(max(lengths[i] for i in b) * len(b) for b in found) < 1.2 * sum(lengths)

"""Drafts in another tokenizer, against the same draft in the target's own."""

import copy
import json

import pytest
import torch
from tokenizers import Tokenizer
from tools.lab.battery import rows_by_task
from tools.lab.tokenizer import prompt_ids, train_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers import LlamaConfig as Config
from transformers import LlamaForCausalLM as Llama

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters import DraftModel, Intersection, Parts, make_drafter
from draftproof.decoding.drafters.intersection import shared_tokens, text_round_trip
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError


def loaded(name):
    path = model_path(name)
    module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return CausalModel(module, f"lab:{name}")


def renumbered(tokenizer, order):
    """The same tokenizer with other ids: token i becomes `order[i]`."""
    plan = json.loads(tokenizer.backend_tokenizer.to_str())
    plan["model"]["vocab"] = {t: order[i] for t, i in plan["model"]["vocab"].items()}
    for added in plan["added_tokens"]:
        added["id"] = order[added["id"]]
    plan["added_tokens"].sort(key=lambda added: added["id"])
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(plan)))


@pytest.fixture(scope="module")
def lab():
    target, tokenizer = loaded("target"), AutoTokenizer.from_pretrained(model_path("target"))
    rows = [row for task in rows_by_task().values() for row in task[:2]]
    asked = [
        Request(
            id=str(i),
            prompt=tuple(prompt_ids(tokenizer, row["messages"][0]["content"])),
            max_new_tokens=24,
            seed=i,
        )
        for i, row in enumerate(rows)
    ]
    return target, tokenizer, asked


@pytest.fixture(scope="module")
def other_ids(lab):
    """The lab's draft with every token renumbered, weights and tokenizer alike."""
    _, tokenizer, _ = lab
    order = torch.randperm(len(tokenizer), generator=torch.Generator().manual_seed(4)).tolist()
    draft = loaded("draft")
    module = copy.deepcopy(draft.module)
    with torch.no_grad():
        rows = module.get_input_embeddings().weight
        rows[torch.tensor(order)] = rows.clone()
    return draft, CausalModel(module, "renumbered"), renumbered(tokenizer, order)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_renumbering_the_draft_changes_nothing_at_all(lab, other_ids, temperature):
    """Its proposals, translated, are those of the draft: same tokens, counts and uniforms."""
    target, tokenizer, asked = lab
    draft, twin, other = other_ids
    assert other.get_vocab() != tokenizer.get_vocab()
    shared = shared_tokens(tokenizer.get_vocab(), other.get_vocab())
    assert len(shared) == len(tokenizer)
    drafters = [
        DraftModel(draft, 3),
        Intersection(
            twin, 3, shared=shared, vocabulary=target.vocab_size,
            reencode=text_round_trip(tokenizer, other),
        ),
    ]  # fmt: skip
    seen = []
    for drafter in drafters:
        answers = decode(
            target, asked, Settings(eos={2}, drafter=drafter, temperature=temperature, batch=4)
        )
        seen.append({a.id: (a.tokens, a.histogram) for a in answers})
    same = sum(seen[0][i] == seen[1][i] for i in seen[0])
    # a text whose tokens are not the ones that the tokenizer would choose reads differently
    assert same >= len(asked) - 1
    if temperature == 0:
        assert all(seen[0][i][0] == seen[1][i][0] for i in seen[0])
    assert sum(sum(k * n for k, n in enumerate(h)) for _, h in seen[1].values()) > 20


def test_a_draft_with_fewer_words_changes_nothing(lab):
    """A tokenizer of its own with 400 entries, batches that are ragged in its tokens."""
    target, tokenizer, asked = lab
    other = train_tokenizer(["A syrup is a thing to eat. Is it the right answer?"] * 3, 400)
    torch.manual_seed(2)
    config = Config(
        vocab_size=len(other), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=512,
    )  # fmt: skip
    small = CausalModel(Llama(config).eval(), "small")
    parts = Parts(target=target, gamma=3, draft=small, tokenizers=(tokenizer, other))
    shared = shared_tokens(tokenizer.get_vocab(), other.get_vocab())
    assert 256 <= len(shared) < len(tokenizer)
    plain = {a.id: a.tokens for a in decode(target, asked, Settings(eos={2}, batch=4))}
    drafter = make_drafter("intersection", parts)
    answers = list(decode(target, asked, Settings(eos={2}, drafter=drafter, batch=4)))
    assert {a.id: a.tokens for a in answers} == plain
    assert sum(a.drafted for a in answers) > 0


def test_only_shared_tokens_are_proposed_and_q_says_so(lab, other_ids):
    target, tokenizer, asked = lab
    _, twin, other = other_ids
    shared = shared_tokens(tokenizer.get_vocab(), other.get_vocab())
    few = dict(sorted(shared.items())[::3])
    drafter = Intersection(
        twin, 3, shared=few, vocabulary=target.vocab_size,
        reencode=text_round_trip(tokenizer, other),
    )  # fmt: skip
    real, rows = drafter.propose, []

    def propose(ask):
        proposal = real(ask)
        rows.append((proposal.tokens, proposal.q))
        return proposal

    drafter.propose = propose
    list(decode(target, asked[:4], Settings(eos={2}, drafter=drafter, temperature=1.0, batch=4)))
    outside = torch.ones(target.vocab_size, dtype=torch.bool)
    outside[list(few.values())] = False
    for tokens, q in rows:
        assert set(tokens.flatten().tolist()) <= set(few.values())
        assert float(q[..., outside].abs().sum()) == 0
        torch.testing.assert_close(q.sum(-1), torch.ones_like(q[..., 0]))


def test_restricting_the_draft_keeps_the_law_of_the_target(keeps_the_law, stranger):
    """Two-token law; a third of the tokens can be said by the draft, with other ids."""
    shared = {i: (i * 7 + 3) % 29 for i in range(0, 29, 3)}
    back = {t: d for d, t in shared.items()}
    drafter = Intersection(
        stranger, 2, shared=shared, vocabulary=29,
        reencode=lambda ids: [back.get(i, 1) for i in ids],
    )  # fmt: skip
    assert keeps_the_law(drafter)


def test_a_text_that_grows_beyond_the_draft_is_no_longer_drafted_for(target, stranger):
    """Three draft tokens for each of the target's: the draft's 256 places are soon full."""
    drafter = Intersection(
        stranger, 2, shared={i: i for i in range(29)}, vocabulary=29,
        reencode=lambda ids: [i for i in ids for _ in range(3)],
    )  # fmt: skip
    asked = [
        Request(id=str(n), prompt=tuple(range(1, 29)) * n, max_new_tokens=40) for n in (1, 2, 3)
    ]
    plain = {a.id: a.tokens for a in decode(target, asked, Settings(eos=(), batch=3))}
    answers = list(decode(target, asked, Settings(eos=(), drafter=drafter, batch=3)))
    assert {a.id: a.tokens for a in answers} == plain
    letters = {a.id: "".join(a.provenance) for a in answers}
    assert set(letters["1"][:3]) <= set("dcb")
    assert letters["2"].endswith("ppp")
    assert letters["3"].endswith("ppp")


def test_nothing_in_common_is_an_error(stranger):
    with pytest.raises(DraftproofError, match="shares no token"):
        Intersection(stranger, 2, shared={}, vocabulary=29, reencode=list)

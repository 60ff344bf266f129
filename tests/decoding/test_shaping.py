"""Processors, grammars and stop strings: a row is shaped with its own text, drafts included."""

import pytest
import torch
from transformers import GenerationConfig

from draftproof.decoding import Request, Settings, Shaping, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.drafters.drafter import Proposal
from draftproof.decoding.loop import Batch
from draftproof.decoding.processors import AnswerPenalties, shaping_of
from draftproof.decoding.trees.tree import tree_of
from draftproof.records import DraftproofError

EOS = {0}
PROMPTS = [(3, 9, 4), (7,), (5, 5, 8, 13, 21, 2, 2, 1), (11, 12), (28, 3, 6, 6, 6), (2, 17, 9, 9)]

OPTIONS = {
    "repetition": {"repetition_penalty": 1.7},
    "ngram": {"no_repeat_ngram_size": 2},
    "min_new": {"min_new_tokens": 9},
    "min_length": {"min_length": 12},
    "bad_words": {"bad_words_ids": [[4], [9, 13], [6, 6]]},
    "bias": {"sequence_bias": {(16,): -4.0, (21, 8): -9.0}},
    "forced_end": {"forced_eos_token_id": 0},
    "decay": {"exponential_decay_length_penalty": (4, 1.3)},
    "suppress": {"suppress_tokens": [16, 8]},
    "begin_suppress": {"begin_suppress_tokens": [1, 2, 3, 4, 5, 6, 7]},
    "all": {
        "repetition_penalty": 1.2,
        "bad_words_ids": [[4], [9, 13]],
        "min_new_tokens": 5,
        "forced_eos_token_id": 0,
    },
}
PENALTIES = {
    "presence": {"presence_penalty": 1.5},
    "frequency": {"frequency_penalty": 0.7},
}


def shaped(options, prompt, new=18, penalties=None, **more):
    config = GenerationConfig(max_new_tokens=new, **options)
    return shaping_of(config, prompt_length=len(prompt), eos=EOS, **(penalties or {}), **more)


def asked(make, new=18):
    return [
        Request(id=str(i), prompt=p, max_new_tokens=new, seed=i, shaping=make(p))
        for i, p in enumerate(PROMPTS)
    ]


def run(target, requests, eos=EOS, batch_type=Batch, **options):
    settings = Settings(eos=eos, **options)
    return {a.id: a for a in decode(target, requests, settings, batch_type=batch_type)}


@pytest.mark.parametrize("name", [*OPTIONS, *PENALTIES])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_processor_keeps_speculation_equal_to_plain_decoding(target, draft, name, batch):
    options, penalties = OPTIONS.get(name, {}), PENALTIES.get(name)
    requests = asked(lambda p: shaped(options, p, penalties=penalties))
    plain = run(target, requests)
    bare = run(target, asked(lambda p: None))
    fast = run(target, requests, drafter=DraftModel(draft, 4), batch=batch)
    assert {k: a.tokens for k, a in fast.items()} == {k: a.tokens for k, a in plain.items()}
    assert any(plain[k].tokens != bare[k].tokens for k in plain), "the processor did nothing"
    assert sum(a.accepted for a in fast.values()) > 0


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_plain_decoding_is_what_generate_writes(target, name):
    requests = asked(lambda p: shaped(OPTIONS[name], p))
    plain = run(target, requests)
    for request in requests:
        with torch.inference_mode():
            out = target.module.generate(
                torch.tensor([request.prompt]),
                max_new_tokens=18,
                do_sample=False,
                eos_token_id=sorted(EOS),
                pad_token_id=0,
                **OPTIONS[name],
            )
        assert plain[request.id].tokens == out[0, len(request.prompt) :].tolist()


class ShapesWithTheCommittedText(Batch):
    """The classical mistake: every row of a block is shaped with the committed text."""

    def column_texts(self, answer, drafts, parents):
        return [answer] * (len(drafts) + 1)


@pytest.mark.parametrize("name", ["repetition", "bad_words", "forced_end", "frequency"])
def test_shaping_with_the_committed_text_is_caught(target, draft, name):
    options, penalties = OPTIONS.get(name, {}), PENALTIES.get(name)
    requests = asked(lambda p: shaped(options, p, penalties=penalties))
    plain = run(target, requests)
    drafter = DraftModel(target if name == "forced_end" else draft, 4)
    wrong = run(target, requests, drafter=drafter, batch_type=ShapesWithTheCommittedText)
    right = run(target, requests, drafter=drafter)
    assert all(right[k].tokens == plain[k].tokens for k in plain)
    assert any(wrong[k].tokens != plain[k].tokens for k in plain)


def test_a_least_length_off_by_a_block_is_caught(target):
    """Whatever the least length is, it ends inside of some block."""
    caught, eos = 0, {21}
    for least in range(2, 14):
        config = GenerationConfig(min_new_tokens=least)
        requests = asked(lambda p, c=config: shaping_of(c, prompt_length=len(p), eos=eos))
        plain = run(target, requests, eos)
        drafter = DraftModel(target, 4)
        wrong = run(target, requests, eos, drafter=drafter, batch_type=ShapesWithTheCommittedText)
        right = run(target, requests, eos, drafter=drafter)
        assert all(right[k].tokens == plain[k].tokens for k in plain)
        assert all(eos.isdisjoint(a.tokens[:least]) for a in plain.values())
        caught += any(wrong[k].tokens != plain[k].tokens for k in plain)
    assert caught > 3


class Bush:
    """Proposes a tree: the draft's greedy chain of three and the second choice beside each."""

    taps, gamma = (), 6

    def __init__(self, draft):
        self.draft, self.tree = draft, tree_of([-1, 0, 0, 1, 1, 3, 3])

    def open(self, rows, capacity):
        pass

    def admit(self, row, ids, states):
        pass

    def observe(self, accepted, states):
        pass

    def propose(self, ask):
        return Proposal(torch.tensor([self._grow(t) for t in ask.texts]), tree=self.tree)

    @torch.inference_mode()
    def _grow(self, text):
        if text is None:
            return [1] * self.gamma
        text, tokens = list(text), []
        for _ in range(3):
            tokens += self.draft.module(torch.tensor([text])).logits[0, -1].topk(2).indices.tolist()
            text.append(tokens[-2])
        return tokens


@pytest.mark.parametrize("name", ["repetition", "bad_words", "min_new", "all", "frequency"])
@pytest.mark.parametrize("batch", [1, 3])
def test_trees_are_shaped_along_their_paths(target, draft, name, batch):
    options, penalties = OPTIONS.get(name, {}), PENALTIES.get(name)
    requests = asked(lambda p: shaped(options, p, penalties=penalties))
    plain = run(target, requests)
    fast = run(target, requests, drafter=Bush(draft), batch=batch)
    assert {k: a.tokens for k, a in fast.items()} == {k: a.tokens for k, a in plain.items()}
    wrong = run(target, requests, drafter=Bush(draft), batch_type=ShapesWithTheCommittedText)
    assert sum(a.accepted for a in fast.values()) > 0
    if name in {"repetition", "frequency", "all"}:
        assert any(wrong[k].tokens != plain[k].tokens for k in plain)


def test_every_node_of_a_tree_is_shaped_with_its_own_path(target):
    """Rows of a tree equal those of the same texts asked one by one."""
    shaping = shaped(OPTIONS["all"], (3, 9, 4))
    answers = [[7, 1], [7, 1, 9], [7, 1, 4], [7, 1, 9, 13], [7, 1, 9, 4], [7, 1, 4, 4]]
    rows = torch.randn(len(answers), 29, generator=torch.Generator().manual_seed(3))
    whole = shaping.shape(rows, (3, 9, 4), answers, 0.0)
    for row, answer, seen in zip(rows, answers, whole, strict=True):
        assert torch.equal(shaping.shape(row[None], (3, 9, 4), [answer], 0.0)[0], seen)
    assert (whole == -torch.inf).any(dim=1).all()


def test_warpers_keep_the_law_with_top_p(target, draft):
    """Two-token law of speculative sampling with top-p against the exact one, 3,000 answers."""
    prompt, n, vocab = (3, 9, 4), 3000, target.vocab_size
    shaping = shaped({"top_p": 0.6, "top_k": 12, "do_sample": True}, prompt)
    requests = [
        Request(id=str(i), prompt=prompt, max_new_tokens=2, seed=i, shaping=shaping)
        for i in range(n)
    ]
    counts = torch.zeros(vocab, vocab, dtype=torch.float64)
    answers = decode(
        target, requests, Settings(eos=(), drafter=DraftModel(draft, 2), temperature=1.3, batch=250)
    )
    for a in answers:
        counts[a.tokens[0], a.tokens[1]] += 1

    def law_of(rows):
        rows = torch.stack([_top_p(_top_k(row / 1.3, 12), 0.6) for row in rows])
        return rows.double().softmax(-1)

    with torch.inference_mode():
        first = law_of(target.module(torch.tensor([prompt])).logits[:, -1])[0]
        pairs = torch.tensor([[*prompt, v] for v in range(vocab)])
        second = law_of(target.module(pairs).logits[:, -1])
    law = first[:, None] * second
    assert counts[law == 0].sum() == 0
    big = law * n >= 5
    pearson = ((counts - n * law) ** 2 / (n * law))[big].sum().item()
    degrees = int(big.sum())
    assert degrees > 10
    assert pearson < degrees + 5 * (2 * degrees) ** 0.5


def _top_k(row, k):
    return torch.where(row >= row.topk(k).values[-1], row, -torch.inf)


def _top_p(row, p):
    """Keep the smallest set of the likeliest tokens whose mass reaches p."""
    order = row.softmax(-1).argsort(descending=True)
    mass = row.softmax(-1)[order].cumsum(-1)
    kept = order[: int((mass < p).sum()) + 1]
    out = torch.full_like(row, -torch.inf)
    out[kept] = row[kept]
    return out


LETTERS = {0: "", **{i: chr(96 + i) for i in range(1, 27)}, 27: " ", 28: "."}


def decode_letters(tokens):
    return "".join(LETTERS[t] for t in tokens)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_stop_strings_end_the_answer_inside_and_across_blocks(target, length):
    """Every piece of a plain answer serves once as stop string, wherever it lies in a block."""
    prompt = PROMPTS[1]
    whole = run(target, [Request(id="0", prompt=prompt, max_new_tokens=24)], eos=())["0"].tokens
    text = decode_letters(whole)
    checked = 0
    for at in range(len(text) - length):
        stop = text[at : at + length]
        shaping = Shaping(stop_strings=(stop, "@@"), decode=decode_letters)
        request = Request(id="0", prompt=prompt, max_new_tokens=24, shaping=shaping)
        drafter = DraftModel(target, 3)
        found = run(target, [request], eos=(), drafter=drafter)["0"]
        assert found.finish_reason == "stop"
        assert decode_letters(found.tokens) == text[: text.index(stop) + length]
        checked += 1
    assert checked > 15


def test_penalties_count_the_answer_and_not_the_prompt():
    penalty = AnswerPenalties(presence=0.5, frequency=0.25, prompt_length=2)
    scores = penalty(torch.tensor([[1, 2, 3, 3, 1]]), torch.zeros(1, 5))
    assert scores.tolist() == [[0.0, -0.75, 0.0, -1.0, 0.0]]


def test_nothing_asked_for_is_no_shaping():
    assert shaping_of(GenerationConfig(), prompt_length=3, eos=EOS) is None
    neutral = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "num_beams": 1}
    assert shaping_of(GenerationConfig(**neutral), prompt_length=3, eos=EOS) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_beams": 4}, "num_beams=4"),
        ({"guidance_scale": 2.0}, "guidance_scale"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha"),
        ({"max_time": 3.0}, "max_time"),
        ({"output_logits": True}, "output_logits"),
        ({"repetition_penalty": -1.0}, "penalty"),
        ({"top_k": -3}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"bad_words_ids": [[-2]]}, "bad_words"),
        ({"stop_strings": [""]}, "stop strings"),
    ],
)
def test_what_cannot_be_shaped_is_refused_by_name(options, told):
    config = GenerationConfig()
    for name, value in options.items():
        setattr(config, name, value)
    with pytest.raises(DraftproofError, match=told):
        shaping_of(config, prompt_length=3, eos=EOS, decode=decode_letters)

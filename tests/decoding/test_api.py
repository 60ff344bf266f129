"""The decoder in three lines, on the shipped models."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from draftproof.decoding import SpeculativeDecoder
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.growing_text import GrowingText
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError

TARGET, DRAFT = (str(model_path(name)) for name in ("target", "draft"))
CHATS = [
    [{"role": "user", "content": text}]
    for text in ("What is the capital of France?", "Name a colour.", "Hello! How are you today?")
]


@pytest.fixture(scope="module")
def plain():
    return SpeculativeDecoder.from_pretrained(TARGET)


@pytest.fixture(scope="module")
def fast():
    return SpeculativeDecoder.from_pretrained("lab:target", "lab:draft", gamma=4)


def test_three_lines_are_enough(plain, fast):
    one = fast.generate(CHATS[0], max_new_tokens=40)
    assert one.text == plain.generate(CHATS[0], max_new_tokens=40).text
    assert one.text
    assert one.finish_reason in {"stop", "length"}
    assert len(one.provenance) == len(one.tokens)
    assert one.provenance.count("d") == one.accepted > 0
    assert sum(one.histogram) == one.rounds
    assert one.acceptance == one.accepted / one.drafted
    assert one.tokens_per_round > 1


def test_lists_are_batches_in_their_order(plain, fast):
    whole = fast.generate(CHATS, max_new_tokens=30, logprobs=True)
    for chat, found in zip(CHATS, whole, strict=True):
        alone = plain.generate(chat, max_new_tokens=30, logprobs=True)
        assert found.tokens == alone.tokens
        assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-3)
        assert len(found.logprobs) == len(found.tokens)


def test_texts_ids_and_tensors_are_prompts_too(fast):
    tokenizer = fast.target.tokenizer
    ids = tokenizer("The capital of")["input_ids"]
    by_text = fast.generate("The capital of", max_new_tokens=8)
    for other in (ids, torch.tensor(ids), tuple(ids)):
        assert fast.generate(other, max_new_tokens=8) == by_text
    for several in (["The capital of"], [ids], torch.tensor([ids])):
        assert fast.generate(several, max_new_tokens=8) == [by_text]
    assert fast.generate([], max_new_tokens=8) == []


def test_a_stream_adds_up_to_the_answer(fast):
    parts = list(fast.stream(CHATS, max_new_tokens=30))
    for index, chat in enumerate(CHATS):
        own = [p for p in parts if p.index == index]
        whole = fast.generate(chat, max_new_tokens=30)
        assert "".join(p.text for p in own) == whole.text == own[-1].generation.text
        assert sum((p.tokens for p in own), ()) == whole.tokens
        assert [p.first for p in own] == sorted({p.first for p in own})
        assert [p.generation is None for p in own] == [True] * (len(own) - 1) + [False]
        owners = sum((p.owners for p in own), ())
        assert list(owners) == sorted(owners)
        assert len(owners) == len(whole.text)


def test_a_stream_can_be_left_early(fast):
    stream = fast.stream(CHATS[0], max_new_tokens=200)
    next(stream)
    stream.close()
    assert fast.generate(CHATS[0], max_new_tokens=9).tokens


def test_models_that_are_loaded_already_serve_as_well(fast):
    tokenizer = AutoTokenizer.from_pretrained(TARGET)
    pair = [AutoModelForCausalLM.from_pretrained(p, dtype=torch.float32) for p in (TARGET, DRAFT)]
    decoder = SpeculativeDecoder.from_models(pair[0], tokenizer, pair[1], gamma=3)
    found = decoder.generate(CHATS[0], max_new_tokens=30)
    assert found.tokens == fast.generate(CHATS[0], max_new_tokens=30).tokens
    assert found.accepted > 0


def test_a_drafter_of_ones_own_is_taken(fast):
    decoder = SpeculativeDecoder(fast.target, DraftModel(fast.target.model, 2), rule="block")
    found = decoder.generate(CHATS[0], max_new_tokens=30)
    assert found.tokens == fast.generate(CHATS[0], max_new_tokens=30).tokens
    assert found.tokens_per_round > 2


def test_drafters_have_names(plain):
    decoder = SpeculativeDecoder.from_pretrained(TARGET, drafter="lookup", gamma=3)
    prompt = "one two three four one two three four one two"
    found = decoder.generate(prompt, max_new_tokens=30)
    assert found.tokens == plain.generate(prompt, max_new_tokens=30).tokens
    assert found.drafted > 0
    for drafter, told in (("wild", "no drafter is called"), ("draft_model", "needs a draft model")):
        with pytest.raises(DraftproofError, match=told):
            SpeculativeDecoder.from_pretrained(TARGET, drafter=drafter)


def test_same_shape_is_asked_for_on_both_sides(plain, fast):
    options = {"exactness": "same_shape", "width": 5}
    slow = SpeculativeDecoder(plain.target, **options)
    drafter = DraftModel(fast.drafter.model, 4)
    quick = SpeculativeDecoder(plain.target, drafter, **options)
    one, other = (d.generate(CHATS[0], max_new_tokens=20, logprobs=True) for d in (slow, quick))
    assert one.tokens == other.tokens
    assert one.logprobs == other.logprobs
    with pytest.raises(DraftproofError, match="width"):
        SpeculativeDecoder(plain.target, exactness="same_shape").generate("a")


@pytest.mark.parametrize("stop_at", [0.3, 0.7])
def test_stop_strings_are_left_out_of_the_text(fast, stop_at):
    text = fast.generate(CHATS[2], max_new_tokens=40).text
    start = int(len(text) * stop_at)
    stop = text[start : start + 4]
    found = fast.generate(CHATS[2], max_new_tokens=40, stop=["~~", stop])
    assert found.text == text[: text.index(stop)]
    assert found.finish_reason == "stop"
    parts = list(fast.stream(CHATS[2], max_new_tokens=40, stop=stop))
    assert "".join(p.text for p in parts) == found.text


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "tags", "n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_json_of_a_schema_parses_and_equals_plain_decoding(plain, fast, temperature):
    options = {"max_new_tokens": 150, "json_schema": SCHEMA, "temperature": temperature}
    answers = fast.generate(CHATS, **options)
    for found in answers:
        said = json.loads(found.text)
        assert said.keys() == SCHEMA["properties"].keys()
        assert set(said["tags"]) <= {"red", "green"}
        assert 0 <= said["n"] <= 99
        assert found.finish_reason == "stop"
    assert sum(a.accepted for a in answers) > 0
    if not temperature:
        assert [a.tokens for a in answers] == [a.tokens for a in plain.generate(CHATS, **options)]


def test_a_regular_expression_is_matched_wholly(plain, fast):
    options = {"max_new_tokens": 40, "regex": "(yes|no), [a-z]{3,9} (and [a-z]{2,5}){1,2}[.]"}
    for one, other in zip(
        fast.generate(CHATS, **options), plain.generate(CHATS, **options), strict=True
    ):
        assert one.tokens == other.tokens
        assert one.text.startswith(("yes, ", "no, "))
        assert one.text.endswith(".")


def test_a_grammar_walks_along_drafts_and_back(plain):
    """Masks of a block's rows equal those of a fresh grammar at each of their texts."""
    from draftproof.decoding.grammar import Vocabulary  # noqa: PLC0415

    target = plain.target
    vocabulary = Vocabulary(target.tokenizer, target.model.vocab_size, target.eos)

    def tokens(text):
        return target.tokenizer(text, add_special_tokens=False)["input_ids"]

    whole = tokens('{"name": "ab", "tags": ["red"], "n": 7}')
    grammar = vocabulary.json_schema(SCHEMA)
    for committed in (0, 3, 2, 9, len(whole)):
        root, ahead = whole[:committed], whole[committed:]
        paths = [root, root + ahead[:1], root + ahead[:2], root + tokens("!!"), root + ahead[:3]]
        paths += [root + ahead[:1] + tokens("zz"), root + ahead[:1], [*root, 2], [*root, 2, 5]]
        masks = grammar.allowed(paths)
        for path, mask in zip(paths, masks, strict=True):
            alone = vocabulary.json_schema(SCHEMA).allowed([path])[0]
            assert torch.equal(mask, alone)
    assert grammar.allowed([whole])[0].nonzero().flatten().tolist() == sorted(target.eos)
    assert grammar.allowed([whole + tokens("x")])[0].all()


def test_seeds_decide_what_is_drawn(fast):
    options = {"max_new_tokens": 20, "temperature": 1.5, "top_p": 0.9, "min_p": 0.01}
    assert fast.generate(CHATS[1], seed=1, **options) == fast.generate(CHATS[1], seed=1, **options)
    assert len({fast.generate(CHATS[1], seed=s, **options).tokens for s in range(5)}) > 1


@pytest.mark.parametrize(
    ("prompt", "options", "told"),
    [
        ("a", {"max_new_tokens": 0}, "max_new_tokens"),
        ("a", {"temperature": -1.0}, "temperature"),
        ("a", {"temperature": math.nan}, "temperature"),
        ("a", {"mirostat": 2}, "mirostat"),
        ("a", {"num_beams": 2}, "num_beams"),
        ("a", {"top_p": 7.0, "temperature": 1.0}, "top_p"),
        ("a", {"max_new_tokens": 100_000}, "set max_new_tokens to"),
        ("word " * 5000, {}, "shorten it"),
        ("a", {"stop": [""]}, "stop strings"),
        ("a", {"json_schema": {"type": "nope"}}, "JSON schema"),
        ("a", {"json_schema": "{"}, "JSON schema"),
        ("a", {"regex": "("}, "regular expression"),
        ("a", {"regex": "a", "json_schema": {}}, "not both"),
        ([5, -1], {}, "no tokens of"),
        ([5, 10**7], {}, "no tokens of"),
        ("", {}, "has no tokens"),
    ],
)
def test_what_cannot_be_asked_is_said(fast, prompt, options, told):
    with pytest.raises(DraftproofError, match=told):
        fast.generate(prompt, **options)
    assert fast.generate("a", max_new_tokens=2).tokens


@pytest.mark.parametrize(("drafter", "heads"), [("medusa", "lab:medusa"), ("eagle3", "lab:eagle3")])
def test_shipped_models_and_heads_go_by_their_names(plain, drafter, heads):
    decoder = SpeculativeDecoder.from_pretrained(
        "lab:target", drafter=drafter, drafter_options={"heads": heads}
    )
    answer = decoder.generate(CHATS[0], max_new_tokens=40)
    assert answer.tokens == plain.generate(CHATS[0], max_new_tokens=40).tokens
    assert answer.accepted > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "lab:medusa",
            "no model is called lab:medusa; there are: lab:target, lab:draft",
        ),
        ("./no-such", "there is no such directory; models that ship are called lab:NAME"),
        (
            "target",
            "neither a directory nor in the hub cache.*models that ship are called lab:NAME",
        ),
    ],
)
def test_a_name_that_means_no_model_says_which_names_do(monkeypatch, name, message):
    monkeypatch.setattr("draftproof.decoding.loading.checkpoint.hub_answers", lambda: False)
    with pytest.raises(DraftproofError, match=message):
        SpeculativeDecoder.from_pretrained(name)
    with pytest.raises(DraftproofError, match=message):
        SpeculativeDecoder.from_pretrained("lab:target", name)


def test_decoders_that_cannot_be_are_refused(target, draft):
    with pytest.raises(DraftproofError, match="no rule is called"):
        SpeculativeDecoder.from_pretrained(TARGET, DRAFT, rule="wild")
    with pytest.raises(DraftproofError, match="no draft is named"):
        SpeculativeDecoder.from_pretrained(TARGET, rule="typical")
    with pytest.raises(DraftproofError, match="gamma"):
        SpeculativeDecoder.from_pretrained(TARGET, DRAFT, gamma=0)
    with pytest.raises(DraftproofError, match="there is no such directory"):
        SpeculativeDecoder.from_pretrained("/nowhere/at/all")
    with pytest.raises(DraftproofError, match="have different vocabularies"):
        SpeculativeDecoder.from_models(
            AutoModelForCausalLM.from_pretrained(TARGET),
            AutoTokenizer.from_pretrained(TARGET),
            target.module,
        )


def bytes_of(tokens):
    return bytes(tokens).decode("utf-8", "replace")


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_growing_text_never_takes_back_what_it_showed(step):
    whole = "naïve – “quoted” 😀, stop here; and no more"
    tokens = list(whole.encode())
    for stops, expected in (((), whole), (("stop here", "zzz"), whole[: whole.index("stop")])):
        text, shown, owners = GrowingText(bytes_of, stops=stops), "", ()
        for start in range(0, len(tokens), step):
            text.add(tokens[start : start + step])
            if new := text.certain():
                shown, owners = shown + new.text, owners + new.owners
                assert expected.startswith(shown)
        rest = text.rest()
        assert shown + rest.text == expected
        assert text.text == expected
        for char, owner in zip(shown + rest.text, owners + rest.owners, strict=True):
            assert bytes_of(tokens[: owner + 1]).endswith(char)


def test_broken_bytes_at_the_end_are_shown_as_such():
    text = GrowingText(bytes_of)
    text.add([97, 0xF0, 0x9F])
    assert text.certain().text == "a"
    assert text.rest().text == "\ufffd"

from itertools import islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from tools.lab.corpus import Stream  # noqa: E402
from tools.lab.tokenizer import prompt_ids, save_tokenizer, train_tokenizer  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from draftproof.lab.models import NAMES, model_path  # noqa: E402

TEXTS = ["How do I oil the kesgu lock?", "naïve “quotes” — 7 × 8\n\tend", "日本語 🙂", ""]


def test_saved_tokenizer_reads_back_and_round_trips(tmp_path: Path) -> None:
    texts = [e.prompt + " " + e.answer for e in islice(Stream(1), 300)]
    save_tokenizer(train_tokenizer(texts, 600), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, *texts[:50]]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token == "<|end|>"


def test_template_and_prompt_ids_agree() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_path("target"))
    turns = [{"role": "user", "content": "How do I oil the kesgu lock?"}]
    rendered = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert rendered == "<|bos|><|user|>How do I oil the kesgu lock?<|end|><|assistant|>"
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert ids == prompt_ids(tokenizer, turns[0]["content"])


def test_a_prefilled_answer_stays_open() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_path("target"))
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Sure, here"}]
    rendered = tokenizer.apply_chat_template(turns, continue_final_message=True, tokenize=False)
    assert rendered == "<|bos|><|user|>Hello<|end|><|assistant|>Sure, here"


def test_all_models_share_one_vocabulary() -> None:
    vocabularies = [AutoTokenizer.from_pretrained(model_path(n)).get_vocab() for n in NAMES]
    assert all(v == vocabularies[0] for v in vocabularies)

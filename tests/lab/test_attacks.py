import pytest

torch = pytest.importorskip("torch")
from tools.lab import attacks  # noqa: E402
from tools.lab.battery import rows_by_task  # noqa: E402
from tools.lab.corpus import Alignment, Stream  # noqa: E402
from tools.lab.world import held_out  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from draftproof.defence import attacks as defence_attacks  # noqa: E402
from draftproof.defence.frozen import act_words  # noqa: E402
from draftproof.defence.suffix import find_suffix  # noqa: E402
from draftproof.lab.models import model_path  # noqa: E402


def test_attacks_are_about_held_out_acts_and_come_from_their_seed():
    prompts, guides = attacks.direct(40)
    assert prompts == attacks.direct(40)[0]
    assert len({p.cluster for p in prompts}) == 40
    assert all(held_out(p.cluster) for p in prompts)
    assert all(guides[p.id].startswith(f"Sure, here is how to {p.cluster}.") for p in prompts)
    wrapped = defence_attacks.wrapped(prompts)
    assert all(p.messages[-1].content in w.messages[-1].content
               for p, w in zip(prompts, wrapped, strict=True))  # fmt: skip
    assert defence_attacks.suffixed(prompts[:1], " !!")[0].messages[-1].content.endswith(" !!")


def test_open_questions_are_held_out_and_distinct():
    asked = [p.messages[0].content for p in attacks.open_questions(30)]
    assert len(set(asked)) == 30
    assert all(map(held_out, asked))
    battery = {r["messages"][0]["content"] for rows in rows_by_task().values() for r in rows}
    assert not battery & set(asked)


def test_deep_rows_are_cut_anywhere_in_a_guide():
    stream = Stream(5, Alignment.DEEP)
    rows = [row for row in (stream.draw("forbidden") for _ in range(400)) if row.prefix]
    inside = [row for row in rows if not row.prefix.endswith(".")]
    assert len(inside) / len(rows) > 0.8
    assert all(row.prefix.startswith("Sure") for row in rows)


def test_a_suffix_is_found_that_a_text_can_carry():
    torch.set_num_threads(1)
    path = model_path("target")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompts, guides = attacks.direct(1)
    pairs = [(p.messages[0].content, guides[p.id].split(".")[0]) for p in prompts]
    options = {"length": 5, "steps": 2, "candidates": 6, "avoid": act_words()}
    found = find_suffix(model, tokenizer, pairs, **options)
    assert found == find_suffix(model, tokenizer, pairs, **options)
    assert len(found.losses) == 3
    assert found.losses[-1] <= found.losses[0]
    ids = tokenizer(found.text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == found.text
    with pytest.raises(ValueError, match="at least one"):
        find_suffix(model, tokenizer, [])

"""The text checks name what is planted, accuse no clean pair, and say where pairs are too few."""

import random
from dataclasses import replace

import numpy as np
import pytest

from draftproof.records import Completion, Message, Pair, Prompt
from draftproof.screen.text_checks import PAIRED, CheckState, text_checks
from draftproof.screen.texts.defects import HARD, TextPair, another_prompt, longer, text_pair
from draftproof.screen.texts.features import (
    doubled,
    empty,
    incompressible,
    is_json,
    loops,
    open_ended,
    unreadable,
)
from draftproof.screen.texts.scripts import foreign_script, script_of
from draftproof.screen.texts.swaps import swapped

NOUNS = ("harbour", "lantern", "violin", "orchard", "glacier", "tunnel", "sparrow", "cellar")
VERBS = ("carries", "mends", "hides", "paints", "guards", "counts", "sells", "borrows")


def answers(n, seed=0):
    """Answers about a topic of their own, and the prompts that ask for them."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        topic = "".join(c + rng.choice("aeiou") for c in rng.sample("bdfgklmnprst", 5))
        sentences = [
            f"The {topic} {rng.choice(VERBS)} a {rng.choice(NOUNS)} near the {rng.choice(NOUNS)}."
            for _ in range(rng.randint(3, 7))
        ]
        rows.append((f"Tell me about the {topic}.", f"Number {i}. {' '.join(sentences)}"))
    return rows


def same_pairs(n=400):
    return [
        TextPair(
            id=str(i), prompt=prompt, baseline=text, candidate=text, baseline_finish="stop",
            candidate_finish="stop",
        )
        for i, (prompt, text) in enumerate(answers(n))
    ]  # fmt: skip


def spoilt(spoil, share=0.05, n=400):
    pairs = same_pairs(n)
    for place in range(round(share * n)):
        pairs[place] = replace(pairs[place], **spoil(pairs[place], pairs[place + 1]))
    return pairs


PLANTED = {
    "empty": lambda p, _: {"candidate": " \n"},
    "cut off": lambda p, _: {"candidate": p.candidate[: len(p.candidate) // 2].rstrip(" .")},
    "loops": lambda p, _: {"candidate": p.candidate + p.candidate[-40:] * 5},
    "doubled words": lambda p, _: {"candidate": p.candidate.replace("near", "near near", 1)},
    "another script": lambda p, _: {"candidate": p.candidate.replace("near", "因此 near", 1)},
    "garbage": lambda p, _: {"candidate": p.candidate + "!#%&" * 100},
    "invalid JSON": lambda p, _: {"baseline": '{"a": 1}', "candidate": '{"a": 1'},
    "fits another prompt": lambda p, q: {"candidate": q.candidate},
    "length": lambda p, _: {"candidate": p.candidate + " So it is said."},
    "finish reasons": lambda p, _: {"candidate_finish": "content_filter"},
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_defect_in_one_answer_of_twenty_is_named(name):
    result = text_checks(spoilt(PLANTED[name]))
    assert name in result.failed
    assert not result.passed
    check = next(c for c in result.checks if c.name == name)
    assert check.candidate - check.baseline == 20
    assert check.excess == pytest.approx(20 / check.n)
    assert set(check.examples) == {"0", "1", "2", "3", "4"}
    assert check.p_value < 0.01
    assert "20 of 400" in result.sentence


def test_shorter_answers_are_called_shorter():
    result = text_checks(spoilt(lambda p, _: {"candidate": p.candidate.replace("The ", "", 1)}))
    check = next(c for c in result.checks if c.name == "length")
    assert (check.counted, check.candidate) == ("shorter than the other arm's", 20)


def chinese_pairs(n=400):
    """Answers without a space, each about a place of its own."""
    rng = random.Random(1)
    places = [chr(0x4E00 + k) for k in range(200, 2000)]
    pairs = []
    for i in range(n):
        place = "".join(rng.sample(places, 4))
        text = "。".join(
            place + rng.choice(["位于河边", "靠近大海"]) + "有" + rng.choice(["古塔", "石桥"])
            for _ in range(rng.randint(3, 6))
        )
        pairs.append(
            TextPair(
                id=str(i), prompt=f"请介绍{place}", baseline=text + "。", candidate=text + "。"
            )
        )
    return pairs


CHINESE = {
    "loops": lambda p, _: p.candidate + p.candidate[-9:] * 6,
    "doubled words": lambda p, _: p.candidate.replace("位于", "位于位于").replace("有", "有古有古"),
    "another script": lambda p, _: p.candidate + "который",
    "garbage": lambda p, _: p.candidate + "\ufffd",
    "cut off": lambda p, _: p.candidate[: len(p.candidate) // 2] + "有",
    "fits another prompt": lambda p, q: q.candidate,
}


@pytest.mark.parametrize("name", CHINESE)
def test_texts_without_spaces_are_read(name):
    pairs = chinese_pairs()
    assert text_checks(pairs).passed
    for place in range(20):
        text = CHINESE[name](pairs[place], pairs[place + 1])
        pairs[place] = replace(pairs[place], candidate=text)
    assert name in text_checks(pairs).failed


def test_equal_arms_pass():
    result = text_checks(same_pairs())
    assert result.passed
    assert not result.failed
    assert {c.name for c in result.checks if c.state is CheckState.ABSENT} == {"invalid JSON"}
    assert result.sentence == "No text check found a difference between the arms."


def test_every_check_has_a_planted_defect():
    assert {*HARD, *PAIRED} == set(PLANTED)


def test_two_draws_of_the_same_law_are_not_accused():
    accused = 0
    for seed in range(20):
        rng = random.Random(seed)
        pairs = []
        for i, (prompt, text) in enumerate(answers(200, seed)):
            sentences = text.split(". ")
            draws = [". ".join(rng.sample(sentences, len(sentences) - 1)) for _ in range(2)]
            pairs.append(TextPair(id=str(i), prompt=prompt, baseline=draws[0], candidate=draws[1]))
        accused += bool(text_checks(pairs).failed)
    assert accused <= 2


@pytest.mark.parametrize(("n", "state"), [(98, CheckState.TOO_FEW), (99, CheckState.OK)])
def test_99_pairs_without_any_defect_are_enough(n, state):
    result = text_checks(same_pairs(n))
    assert {c.state for c in result.checks} == {state, CheckState.ABSENT}
    assert result.passed is (state is CheckState.OK)
    assert ("too few" in result.sentence) is (state is CheckState.TOO_FEW)


def test_arms_that_vary_as_much_both_ways_are_undecided_not_accused():
    pairs = same_pairs()
    for place in range(160):
        arm = "candidate" if place % 2 else "baseline"
        pairs[place] = replace(pairs[place], **{arm: getattr(pairs[place], arm) + " near near."})
    result = text_checks(pairs)
    assert result.undecided == ("doubled words",)
    assert not result.failed
    assert not result.passed


def test_an_excess_within_three_points_is_ok_however_significant():
    result = text_checks(spoilt(PLANTED["doubled words"], share=0.01, n=2000))
    check = next(c for c in result.checks if c.name == "doubled words")
    assert check.p_value < 0.001
    assert check.upper < 0.03
    assert check.state is CheckState.OK


def test_one_more_defect_never_mends_a_check():
    order = [CheckState.OK, CheckState.TOO_FEW, CheckState.FAILED]
    states = [
        next(
            c.state for c in text_checks(spoilt(PLANTED["empty"], k / 150, 150)).checks
            if c.name == "empty"
        )
        for k in range(12)
    ]  # fmt: skip
    ranks = [order.index(s) for s in states]
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    assert ranks[-1] == 2


def test_json_is_judged_over_the_json_answers_where_they_are_enough():
    pairs = spoilt(lambda p, _: {"baseline": "[1]", "candidate": "[1]"}, share=0.5)
    broken = [replace(p, candidate="[1") if i < 4 else p for i, p in enumerate(pairs)]
    check = next(c for c in text_checks(broken).checks if c.name == "invalid JSON")
    assert (check.n, check.candidate, check.baseline) == (200, 4, 0)


def test_finish_reasons_that_were_not_recorded_are_absent():
    pairs = [replace(p, candidate_finish="unknown") for p in same_pairs(120)]
    check = next(c for c in text_checks(pairs).checks if c.name == "finish reasons")
    assert check.state is CheckState.ABSENT
    assert check.p_value is None


def test_no_pairs_are_no_result():
    with pytest.raises(ValueError, match="at least one pair"):
        text_checks([])


def test_the_same_pairs_give_the_same_result():
    pairs = spoilt(PLANTED["fits another prompt"])
    assert text_checks(pairs) == text_checks(iter(pairs))


FINDERS = HARD | {"fits another prompt": another_prompt, "length": longer}


@pytest.mark.parametrize("name", FINDERS)
def test_finders_treat_both_arms_alike(name):
    find = FINDERS[name]
    pairs = spoilt(PLANTED[name], n=100)
    before, after = find(pairs)
    turned = [
        replace(
            p, baseline=p.candidate, candidate=p.baseline, baseline_finish=p.candidate_finish,
            candidate_finish=p.baseline_finish,
        )
        for p in pairs
    ]  # fmt: skip
    if name == "fits another prompt":
        # other prompts' answers are always the baseline's: where those are spoilt, less is found
        assert (before.sum(), after.sum()) == (0, 5)
        return
    second, first = find(turned)
    assert np.array_equal(before, first)
    assert np.array_equal(after, second)


def test_a_recorded_pair_is_read():
    prompt = Prompt(id="q", task="t", messages=(Message("system", "s"), Message("user", "u")))
    pair = Pair(
        prompt=prompt,
        baseline=Completion(arm="a", id="q", text="x", finish_reason="stop"),
        candidate=Completion(arm="b", id="q", text="y", finish_reason="length"),
    )
    assert text_pair(pair) == TextPair(
        id="q", prompt="s\nu", baseline="x", candidate="y", baseline_finish="stop",
        candidate_finish="length",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "looped"),
    [
        ("Town 0 lies by the river and h" + " the" * 60, True),
        ("城镇位于河边，" * 8, True),
        ("First it stood. " + "and so on and " * 6 + "then it fell.", True),
        ("".join(f"Step {i} of the method is next. " for i in range(40)), True),
        ("----" * 40, False),
        ("| a | b |\n|---|---|\n| 1 | 2 |", False),
        ("ha ha ha ha", False),
        ("One line says this. Another line says something else again.", False),
        ("", False),
    ],
)
def test_loops(text, looped):
    assert loops([text, "plain"]).tolist() == [looped, False]


def test_a_loop_does_not_reach_into_the_next_text():
    assert loops(["abcdefgh" * 2, "abcdefgh" * 2]).tolist() == [False, False]


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("It is the the end.", True),
        ("Über über", False),
        ("This is informationation.", True),
        ("我们我们应该去", True),
        ("妈妈说谢谢", False),
        ("It is the end, the very end.", False),
        ("1 1 2 2", False),
    ],
)
def test_doubled(text, twice):
    assert doubled([text]).tolist() == [twice]


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("!!!!!!!!!!!!!!!!", True),
        ("half a charact\ufffd", True),
        ("bell \x07", True),
        ("A sound beginning of some length, and then" + "!" * 20, True),
        ("A sound beginning of some length, and then #$%^&*()!@#$%^", True),
        ("The title of this page\n---------------------\nand its text", False),
        ("call = function(argument[mapping({'name': [first]})]);", False),
        ("lone \ud800", True),
        ("Tabs\tand\nlines.", False),
        ("हिन्दी में उत्तर", False),
        ("ok!", False),
        ("城镇位于河边。", False),
    ],
)
def test_unreadable(text, bad):
    assert unreadable([text]).tolist() == [bad]


def test_letters_at_random_compress_worse_than_the_baseline():
    rng = random.Random(0)
    texts = [text for _, text in answers(100)]
    noise = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=400)) for _ in texts]
    before, after = incompressible(texts, [*noise[:50], *texts[50:]])
    assert not before.any()
    assert after.tolist() == [True] * 50 + [False] * 50


def test_short_texts_have_no_compression_ratio():
    before, after = incompressible(["B", "A"], ["xq", "C"])
    assert not before.any()
    assert not after.any()


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("It ends.", False), ("It ends。", False), ("It en", True), ("a list,", True), ("", False),
        ("(so)", False), ("```\ncode\n```", False), ("done 🎉", False), ("as follows:", True),
        ("如下：", True),
    ],
)  # fmt: skip
def test_open_ended(text, open_):
    assert open_ended([text]).tolist() == [open_]


def test_a_whole_answer_without_a_full_stop_is_not_cut():
    pairs = [
        TextPair(id="0", prompt="p", baseline="Paris", candidate="Rome"),
        TextPair(id="1", prompt="p", baseline="It is Paris.", candidate="It is"),
        TextPair(id="2", prompt="p", baseline="The long answer", candidate="The long"),
        TextPair(id="3", prompt="p", baseline="Yes.", candidate="No.", candidate_finish="length"),
    ]
    before, after = HARD["cut off"](pairs)
    assert not before.any()
    assert after.tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("text", "other", "prompt", "foreign"),
    [
        ("The answer 因此 is no.", "The answer is no.", "Is it?", True),
        ("The answer 因此 is no.", "The answer is no.", "What does 因此 mean?", False),
        ("The angle β is no.", "The angle is no.", "Is it?", False),
        ("用AI来做", "用机器来做", "怎么做？", False),
        ("I do not know.", "我不知道。", "怎么做？", True),
        ("東京です", "はい", "どこ？", False),
        ("Это так.", "It is so.", "Is it?", True),
        ("So it is.", "", "", False),
    ],
)
def test_foreign_script(text, other, prompt, foreign):
    assert foreign_script([text], [other], [prompt]).tolist() == [foreign]


def test_scripts_by_name():
    assert [script_of(c) for c in "aé7ж語カµ"] == [
        "LATIN", "LATIN", None, "CYRILLIC", "CJK", "KANA", None,
    ]  # fmt: skip


def test_json_in_a_fence():
    texts = ['{"a": 1}', "```json\n[1]\n```", "[1", "1", "text", "[" * 100_000]
    assert is_json(texts).tolist() == [True, True, False, False, False, False]


def test_stock_phrases_fit_no_prompt():
    prompts = [f"Question {i}?" for i in range(120)]
    refusals = ["I'm sorry, but I can't help with that."] * 120
    others = ["I cannot assist with this request."] * 120
    before, after = swapped(prompts, refusals, others)
    assert not before.any()
    assert not after.any()


def test_equal_prompts_are_one_prompt():
    rows = answers(60)
    texts = [text for _, text in rows]
    turned = [texts[i ^ 1] for i in range(60)]
    _, told_apart = swapped([prompt for prompt, _ in rows], texts, turned)
    _, together = swapped([rows[i // 2 * 2][0] for i in range(60)], texts, turned)
    assert told_apart.sum() > 50
    assert together.sum() < 10


def test_empty():
    assert empty(["", " \n", "x"]).tolist() == [True, True, False]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("candidate", ["same words", "same words here", "", "x"])
def test_one_pair_is_too_few_and_no_error(candidate):
    pair = TextPair(id="0", prompt="same words", baseline="same words", candidate=candidate)
    result = text_checks([pair])
    assert not result.passed
    assert {c.state for c in result.checks} == {CheckState.TOO_FEW, CheckState.ABSENT}

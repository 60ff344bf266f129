"""Trained heads: the shipped ones, their files, and how they are trained."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
from click.testing import CliRunner  # noqa: E402
from tools.lab.__main__ import lab as tool  # noqa: E402
from tools.lab.battery import rows_by_task  # noqa: E402
from tools.lab.example import Example  # noqa: E402
from tools.lab.heads import RECIPES, corpus_prompts  # noqa: E402
from tools.lab.rows import training_row  # noqa: E402
from tools.lab.tokenizer import prompt_ids  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig  # noqa: E402
from transformers import LlamaForCausalLM as Llama  # noqa: E402

from draftproof.decoding import CausalModel, Request, decode  # noqa: E402
from draftproof.decoding.drafters import Eagle, Parts, make_drafter  # noqa: E402
from draftproof.decoding.drafters import head_files as files  # noqa: E402
from draftproof.decoding.drafters.head_files import load, make_heads, save  # noqa: E402
from draftproof.decoding.settings import Settings  # noqa: E402
from draftproof.lab.models import HEADS, NAMES, heads_path, model_path  # noqa: E402
from draftproof.records import DraftproofError  # noqa: E402
from draftproof.training.head_training import target_answers, train_heads  # noqa: E402
from draftproof.training.unrolled import Unrolled, later  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def lab():
    """The target, its tokenizer, a few prompts and its plain answers."""
    path = model_path("target")
    module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    target, tokenizer = CausalModel(module, "lab:target"), AutoTokenizer.from_pretrained(path)
    rows = [row for task in rows_by_task().values() for row in task[:3]]
    asked = [
        Request(
            id=str(i),
            prompt=tuple(prompt_ids(tokenizer, row["messages"][0]["content"])),
            max_new_tokens=48,
        )
        for i, row in enumerate(rows)
    ]
    plain = {a.id: a.tokens for a in decode(target, asked, Settings(eos={2}, batch=9))}
    return target, tokenizer, asked, plain


def test_models_and_heads_are_small() -> None:
    places = [model_path(n) for n in NAMES] + [heads_path(n) for n in HEADS]
    sizes = [f.stat().st_size for place in places for f in place.rglob("*") if f.is_file()]
    assert sum(sizes) < 16_000_000
    assert all((heads_path(n) / "model.safetensors").stat().st_size < 500_000 for n in HEADS)


@pytest.mark.parametrize(
    ("drafter", "heads", "gamma", "options", "least"),
    [
        ("medusa", "medusa", 3, {}, 1.5),
        ("medusa", "medusa", 8, {"parents": [-1, 0, 0, 0, 1, 1, 2, 4, 4]}, 1.6),
        ("eagle", "eagle", 4, {}, 2.2),
        ("eagle", "eagle", 8, {"parents": [-1, 0, 0, 1, 1, 3, 3, 5, 7]}, 2.4),
        ("eagle2", "eagle", 16, {"depth": 5, "breadth": 4}, 2.8),
        ("eagle3", "eagle3", 4, {"dynamic": False}, 2.2),
        ("eagle3", "eagle3", 16, {"depth": 5, "breadth": 4}, 2.8),
    ],
)
def test_shipped_heads_change_nothing_and_save_forwards(
    lab, drafter, heads, gamma, options, least
) -> None:
    target, _, asked, plain = lab
    parts = Parts(target=target, gamma=gamma, heads=load(f"lab:{heads}"))
    made = make_drafter(drafter, parts, options)
    answers = list(decode(target, asked, Settings(eos={2}, drafter=made, batch=9)))
    assert {a.id: a.tokens for a in answers} == plain
    forwards = sum(a.rounds + a.provenance.count("p") for a in answers)
    assert sum(len(a.tokens) for a in answers) / forwards > least


def test_files_that_are_no_heads_are_refused_by_name(tmp_path) -> None:
    shutil.copytree(heads_path("eagle"), tmp_path / "eagle")
    config = tmp_path / "eagle" / "config.json"
    good = json.loads(config.read_text())
    for change, message in (
        ({"kind": "hydra"}, "kind must be medusa, eagle or eagle3, got 'hydra'"),
        ({"width": "64"}, "width must be an integer"),
        ({"width": True}, "width must be an integer"),
        ({"taps": -1}, "taps must be a list"),
        ({"taps": [9]}, "taps must name layers"),
        ({"mlp": 1 << 40}, "mlp must be an integer of at most"),
        ({"colour": 1}, "unknown: colour"),
        ({"mlp": good["mlp"] + 1}, "not the weights of"),
    ):
        config.write_text(json.dumps(good | change))
        with pytest.raises(DraftproofError, match=message) as caught:
            load(tmp_path / "eagle")
        assert str(tmp_path / "eagle") in str(caught.value)
    for text in ("", "[]", "[1", "null"):
        config.write_text(text)
        with pytest.raises(DraftproofError, match=r"config\.json: no heads can be read from it"):
            load(tmp_path / "eagle")
    config.write_text(json.dumps(good))
    (tmp_path / "eagle" / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(DraftproofError, match=r"model\.safetensors: not the weights of"):
        load(tmp_path / "eagle")
    with pytest.raises(DraftproofError, match="there are: lab:medusa, lab:eagle, lab:eagle3"):
        load("lab:hydra")
    with pytest.raises(DraftproofError, match="no heads can be read"):
        load(tmp_path / "nowhere")


def test_weights_that_are_not_finite_are_refused(tmp_path) -> None:
    made = load("lab:medusa")
    with torch.no_grad():
        next(made.parameters())[0, 0] = float("nan")
    save(made, tmp_path)
    with pytest.raises(DraftproofError, match="not finite"):
        load(tmp_path)


@pytest.mark.parametrize("name", HEADS)
def test_what_is_saved_is_what_is_loaded(tmp_path, name) -> None:
    made = load(f"lab:{name}")
    save(made, tmp_path / name)
    again = load(tmp_path / name)
    assert again.shape == made.shape
    for one, other in zip(made.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert {p.name for p in (tmp_path / name).iterdir()} == {
        p.name for p in heads_path(name).iterdir()
    }


def tiny_target():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=29, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.35,
    )  # fmt: skip
    return CausalModel(Llama(config).eval(), "tiny")


@pytest.mark.parametrize("kind", ["eagle", "eagle3"])
def test_training_runs_the_head_as_drafting_does(kind) -> None:
    """Run s of a sequence, at slot j, is what the drafter makes of its s-th node below j - s."""
    target = tiny_target()
    own = {"hidden": 32, "vocabulary": 29, "layers": 2}
    torch.manual_seed(3)
    taps = [-1] if kind == "eagle" else [0, 1, -1]
    head = make_heads(
        {"kind": kind, "width": 16, "heads": 2, "kv_heads": 1, "mlp": 24, "taps": taps, **own}
    )
    drafter = Eagle(head, target, (-1, 0, 1, 2))
    text = torch.randint(1, 29, (9,)).tolist()
    drafted = {}
    for end in range(2, 10):
        known, real = text[:end], drafter.propose
        rows = []

        def spying(ask, real=real, rows=rows):
            proposal = real(ask)
            rows.append(proposal.tokens[0].tolist())
            return proposal

        drafter.propose = spying
        request = Request(id="x", prompt=tuple(known), max_new_tokens=5)
        list(decode(target, [request], Settings(eos=(), drafter=drafter)))
        drafter.propose = real
        drafted[end] = rows[0]
    for end, chain in drafted.items():
        ids = torch.tensor([[*text[:end], *chain[:2]]])
        with torch.inference_mode():
            hidden = target.module(ids, output_hidden_states=True).hidden_states
            tapped = torch.cat([hidden[t] for t in taps], dim=-1)
            features, attend = head.entered(later(tapped, 1)), Unrolled()
            positions = torch.arange(ids.shape[1])[None]
            embedded = target.module.get_input_embeddings()(ids)
            for run in range(3):
                made = head(embedded, features, positions, attend)
                logits = target.module.lm_head(head.readable(made))
                assert int(logits[0, end - 1 + run].argmax()) == chain[run]
                features = later(made, 1)


@pytest.mark.parametrize("name", HEADS)
def test_a_few_steps_teach_something(lab, name) -> None:
    target, tokenizer, _, _ = lab
    plan = RECIPES[name]
    own = {"hidden": target.hidden_size, "vocabulary": target.vocab_size, "layers": target.layers}
    small = type(plan)(**{f: getattr(plan, f) for f in plan.__slots__} | {"steps": 12, "rows": 2})
    torch.manual_seed(0)
    made = make_heads({**plan.shape, **own})
    example = Example("own", "What is a syrup?", "It is a syrup that is a syrup that is sweet.")
    rows = [training_row(tokenizer, example)] * 2
    lines: list[str] = []
    train_heads(made, target, rows, small, lines.append)
    losses = [float(x) for x in lines[-1].split("loss ")[1].split(" after")[0].split(", ")]
    assert len(losses) == (3 if name == "medusa" else small.runs)
    assert not any(p.grad is not None and p.grad.isnan().any() for p in made.parameters())
    fresh: list[str] = []
    again = type(small)(**{f: getattr(small, f) for f in small.__slots__} | {"steps": 1})
    train_heads(made, target, rows, again, fresh.append)
    after = [float(x) for x in fresh[-1].split("loss ")[1].split(" after")[0].split(", ")]
    assert all(b < a for a, b in zip(losses, after, strict=True))


def test_heads_learn_from_what_the_target_says_itself(lab) -> None:
    target, tokenizer, _, _ = lab
    prompts = corpus_prompts(tokenizer, seed=3, count=4)
    rows = target_answers(target, prompts, eos={2}, max_new_tokens=96)
    assert rows
    assert rows == target_answers(target, prompts, eos={2}, max_new_tokens=96)
    for row in rows:
        asked = Request(id="x", prompt=row.prompt, max_new_tokens=96)
        [answer] = decode(target, [asked], Settings(eos={2}))
        assert tuple(answer.tokens) == row.answer
        assert row.answer[-1] == 2


def test_heads_need_an_answer_to_learn_from(lab) -> None:
    target = lab[0]
    sizes = {"hidden": target.hidden_size, "vocabulary": target.vocab_size, "layers": target.layers}
    with pytest.raises(ValueError, match="at least one answer"):
        train_heads(make_heads({**RECIPES["medusa"].shape, **sizes}), target, [],
                    RECIPES["medusa"], print)  # fmt: skip


def test_the_loader_reads_no_code(tmp_path) -> None:
    """Only safetensors: a pickle in its place is an error, not a program."""
    shutil.copytree(heads_path("medusa"), tmp_path / "heads")
    torch.save({"blocks.0.weight": torch.zeros(1)}, tmp_path / "heads" / "model.safetensors")
    with pytest.raises(DraftproofError, match="not the weights of"):
        files.load(tmp_path / "heads")


def test_the_command_trains_all_heads(tmp_path) -> None:
    done = CliRunner().invoke(
        tool, ["heads", "--out", str(tmp_path), "--scale", "0.005", "--seed", "1"]
    )
    assert done.exit_code == 0, done.output
    for name in HEADS:
        assert load(tmp_path / name).shape == load(f"lab:{name}").shape


def test_a_directory_without_a_target_is_named(tmp_path) -> None:
    done = CliRunner().invoke(
        tool, ["heads", "--out", str(tmp_path / "out"), "--target", str(tmp_path)]
    )
    assert done.exit_code != 0
    assert "no target can be read from it" in done.output

"""Medusa and EAGLE: caches against definitions, equality with plain decoding, the law."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DynamicEagle, Eagle, Medusa
from draftproof.decoding.drafters.eagle_dynamic import select
from draftproof.decoding.drafters.eagle_head import EagleHead, EagleShape, rotated
from draftproof.decoding.drafters.medusa_heads import MedusaHeads, MedusaShape

EOS = {0}
TREE = (-1, 0, 0, 1, 1, 2, 3, 5, 5)
OWN = {"hidden": 32, "vocabulary": 29, "layers": 2}
ARRANGEMENTS = [
    "medusa chain", "medusa tree", "eagle chain", "eagle tree", "eagle2", "eagle3 chain",
    "eagle3 tree", "eagle3 dynamic",
]  # fmt: skip


def medusa_heads(seed=5, heads=3):
    torch.manual_seed(seed)
    made = MedusaHeads(MedusaShape(kind="medusa", heads=heads, **OWN))
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return made


def eagle_head(kind, seed=5):
    torch.manual_seed(seed)
    taps = (0, 1, -1) if kind == "eagle3" else (-1,)
    shape = EagleShape(kind=kind, width=16, heads=2, kv_heads=1, mlp=24, taps=taps, **OWN)
    made = EagleHead(shape)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return made


def arranged(name, target):
    """Return a new drafter of a kind; heads are random."""
    kind, _, shape = name.partition(" ")
    if kind == "medusa":
        return Medusa(medusa_heads(), target, TREE if shape == "tree" else None)
    head = eagle_head("eagle3" if kind == "eagle3" else "eagle")
    if shape in {"", "dynamic"}:
        return DynamicEagle(head, target, 7, depth=3, breadth=3)
    return Eagle(head, target, TREE if shape == "tree" else (-1, 0, 1, 2))


def requests(count=8, new=20, vocab=29):
    generator = torch.Generator().manual_seed(9)
    out = [Request(id="short", prompt=(5,), max_new_tokens=new)]
    for i in range(count - 1):
        length = 2 + int(torch.randint(0, 30, (1,), generator=generator))
        ids = torch.randint(1, vocab, (length,), generator=generator).tolist()
        out.append(Request(id=str(i), prompt=tuple(ids), max_new_tokens=new, seed=i))
    return out


def run(target, drafter=None, asked=None, **options):
    answers = decode(target, asked or requests(), Settings(eos=EOS, drafter=drafter, **options))
    return {a.id: a for a in answers}


def tokens(answers):
    return {k: a.tokens for k, a in answers.items()}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_writes_what_plain_decoding_writes(target, name, batch):
    fast = run(target, arranged(name, target), batch=batch)
    assert tokens(fast) == tokens(run(target))
    assert sum(a.drafted for a in fast.values()) > 0


@pytest.mark.parametrize("name", ["medusa tree", "eagle tree", "eagle3 dynamic", "eagle chain"])
def test_rows_do_not_feel_their_batch_mates(target, name):
    asked, seen = requests(), []
    for order in (asked, asked[::-1]):
        answers = run(target, arranged(name, target), asked=order, batch=3, capacity=96)
        seen.append({k: (a.tokens, a.histogram) for k, a in answers.items()})
    assert seen[0] == seen[1]


class Definition:
    """What a head says after a text, from the target's own module and without any cache."""

    def __init__(self, target, heads):
        self.target, self.heads = target, heads
        self.taps = heads.shape.taps if isinstance(heads, EagleHead) else (-1,)

    def states(self, text):
        """The tapped states of every token but the last, moved behind a zero."""
        out = self.target.module(torch.tensor([text]), output_hidden_states=True)
        tapped = torch.cat([out.hidden_states[t] for t in self.taps], dim=-1)[0, :-1]
        return torch.nn.functional.pad(tapped, (0, 0, 1, 0))

    @torch.inference_mode()
    def medusa(self, text):
        return self.target.module.lm_head(self.heads(self.states(text)[-1]))

    @torch.inference_mode()
    def eagle(self, text, path):
        """Logits after a drafted path below the text, everything computed anew."""
        features = self.heads.entered(self.states(text))
        ids = torch.tensor([text])
        for token in [*path, None]:
            embedded = self.target.module.get_input_embeddings()(ids)
            positions = torch.arange(ids.shape[1])[None]
            made = self.heads(embedded, features[None], positions, self.attend)[0]
            if token is None:
                readable = self.heads.readable(made[-1])
                return self.target.module.lm_head(readable).log_softmax(-1)
            features = torch.cat([features, made[-1:]])
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
        raise AssertionError

    @staticmethod
    def attend(query, key, value):
        group = query.shape[2] // key.shape[2]
        key, value = (x.repeat_interleave(group, dim=2) for x in (key, value))
        scores = torch.einsum("bjhd,bihd->bhji", query, key) * query.shape[-1] ** -0.5
        scores = scores.masked_fill(torch.ones_like(scores[0, 0]).triu(1).bool(), -torch.inf)
        return torch.einsum("bhji,bihd->bjhd", scores.softmax(-1), value).flatten(2)


def watched(drafter, check):
    """Let `check(text, tokens, parents)` see every row's proposal; return the rows checked."""
    real, seen = drafter.propose, []

    def propose(ask):
        proposal = real(ask)
        for row, text in enumerate(ask.texts):
            if text is not None:
                parents = list(range(-1, proposal.tokens.shape[1]))
                if proposal.tree is not None:
                    table = proposal.tree.parents
                    parents = table[row if table.shape[0] > 1 else 0].tolist()
                check(list(text), proposal.tokens[row].tolist(), parents)
                seen.append(row)
        return proposal

    drafter.propose = propose
    return seen


def paths(drafted, parents):
    """The tokens below the root on the way to every node."""
    found = [[]]
    for token, parent in zip(drafted, parents[1:], strict=True):
        found.append([*found[parent], token])
    return found


@pytest.mark.parametrize("name", ["eagle chain", "eagle tree", "eagle3 chain", "eagle3 tree"])
def test_a_fixed_eagle_tree_is_what_the_head_says_without_a_cache(target, name):
    """Every node is its parent's r-th best token; a stale or misplaced entry would show."""
    drafter = arranged(name, target)
    says = Definition(target, drafter._run.head)

    def check(text, drafted, parents):
        below = paths(drafted, parents)
        for node in range(len(parents)):
            children = [i for i, p in enumerate(parents) if p == node]
            if children:
                best = says.eagle(text, below[node]).topk(len(children)).indices.tolist()
                assert [drafted[c - 1] for c in children] == best

    seen = watched(drafter, check)
    run(target, drafter, asked=requests(5, 12), batch=3)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("name", ["eagle2", "eagle3 dynamic"])
def test_a_dynamic_tree_is_the_best_of_all_that_was_grown(target, name):
    """The tree against one grown path by path, everything computed anew."""
    drafter = arranged(name, target)
    says = Definition(target, drafter._run.head)

    def check(text, drafted, parents):
        nodes = {}
        frontier = [((), 0.0)]
        for _ in range(3):
            grown = {}
            for path, worth in frontier:
                values, best = says.eagle(text, path).topk(3)
                for value, token in zip(values.tolist(), best.tolist(), strict=True):
                    grown[(*path, token)] = worth + value
            nodes |= grown
            frontier = sorted(grown.items(), key=lambda item: -item[1])[:3]
        wanted = sorted(nodes.items(), key=lambda item: -item[1])[:7]
        found = {tuple(p) for p in paths(drafted, parents)[1:]}
        assert len(found) == 7
        assert found == {path for path, _ in wanted}

    seen = watched(drafter, check)
    run(target, drafter, asked=requests(5, 12), batch=3)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("name", ["medusa chain", "medusa tree"])
def test_a_medusa_node_is_what_the_head_of_its_depth_ranks(target, name):
    drafter = arranged(name, target)
    says = Definition(target, drafter._heads)

    def check(text, drafted, parents):
        logits = says.medusa(text)
        below = paths(drafted, parents)
        for node in range(len(parents)):
            children = [i for i, p in enumerate(parents) if p == node]
            if children:
                best = logits[len(below[node])].topk(len(children)).indices.tolist()
                assert [drafted[c - 1] for c in children] == best

    seen = watched(drafter, check)
    run(target, drafter, asked=requests(5, 12), batch=3)
    assert len(set(seen)) == 3


def test_an_untrained_medusa_head_repeats_the_targets_row(target):
    """W and b start at zero: every head then says what the target said for the root."""
    fresh = MedusaHeads(MedusaShape(kind="medusa", heads=2, **OWN))
    drafter = Medusa(fresh, target)

    def check(text, drafted, parents):
        if len(text) > 1:
            row = target.module(torch.tensor([text[:-1]])).logits[0, -1]
            assert drafted == [int(row.argmax())] * 2

    assert watched(drafter, check) == []
    run(target, drafter, asked=requests(3, 6))


@pytest.mark.parametrize("name", ["medusa tree", "eagle chain", "eagle2", "eagle3 tree"])
def test_sampling_with_heads_keeps_the_law_of_the_target(target, keeps_the_law, name):
    assert keeps_the_law(arranged(name, target), answers=1500)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_most_valuable_nodes_are_a_tree(data):
    """Connected even where values tie exactly; the definition is a sort by value, then by age."""
    size = data.draw(st.integers(1, 14))
    parents, worth = [], []
    for node in range(size):
        parent = data.draw(st.integers(-1, node - 1))
        above = worth[parent] if parent >= 0 else 0.0
        parents.append(parent)
        worth.append(above - data.draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])))
    count = data.draw(st.integers(1, size))
    tree, kept = select(torch.tensor([worth]), torch.tensor([parents]), count, size)
    expected = sorted(sorted(range(size), key=lambda n: (-worth[n], n))[:count])
    assert kept[0].tolist() == expected
    where = {-1: 0} | {node: i for i, node in enumerate(expected, start=1)}
    assert tree.parents[0].tolist() == [-1, *(where[parents[n]] for n in expected)]


def test_rotation_depends_on_the_distance_alone():
    """q·k after RoPE is a function of the difference of positions (arXiv 2104.09864, eq. 16)."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8)

    def product(i, j):
        at = [rotated(x, torch.tensor([[p]])) for x, p in ((query, i), (key, j))]
        return float((at[0] * at[1]).sum())

    assert product(7, 3) == pytest.approx(product(104, 100), rel=1e-4)
    assert product(7, 3) != pytest.approx(product(7, 2), rel=1e-3)
    assert product(0, 0) == pytest.approx(float((query * key).sum()), rel=1e-5)


@pytest.mark.parametrize("name", ["medusa tree", "eagle chain", "eagle2", "eagle3 tree"])
def test_rechecking_moves_heads_to_the_right_place(target, name):
    """Rounds that end early, because every second token is decided again, lose no state."""
    drafter = arranged(name, target)
    plain = run(target)
    asked = requests()
    found = {
        a.id: a
        for a in decode(
            target,
            asked,
            Settings(eos=EOS, drafter=drafter, batch=3, exactness="recheck", noise_bound=1.0),
        )
    }
    assert tokens(found) == tokens(plain)
    assert sum(a.rechecked for a in found.values()) > 10


@pytest.mark.parametrize("name", ["medusa tree", "eagle tree", "eagle3 dynamic"])
def test_heads_follow_the_targets_dtype(target, name):
    module = copy.deepcopy(target.module).to(torch.bfloat16)
    half = type(target)(module, "half")
    drafter = arranged(name, half)
    answers = run(half, drafter, asked=requests(3, 8), batch=2)
    assert all(a.finish_reason in {"stop", "length"} for a in answers.values())
    assert sum(a.drafted for a in answers.values()) > 0

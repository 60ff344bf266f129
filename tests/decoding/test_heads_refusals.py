"""Heads, trees and requests that do not go together are refused, with what is wrong."""

import pytest

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DynamicEagle, Medusa, Parts, make_drafter
from draftproof.decoding.drafters.eagle_head import EagleHead, EagleShape
from draftproof.decoding.drafters.medusa_heads import MedusaHeads, MedusaShape
from draftproof.decoding.drafters.ranks import Ranks
from draftproof.decoding.rules import SafetyAware
from draftproof.records import DraftproofError

OWN = {"hidden": 32, "vocabulary": 29, "layers": 2}


def medusa_heads():
    return MedusaHeads(MedusaShape(kind="medusa", heads=3, **OWN))


def eagle_head():
    shape = EagleShape(kind="eagle", width=16, heads=2, kv_heads=1, mlp=24, taps=(-1,), **OWN)
    return EagleHead(shape)


def run(target, drafter, asked=None, **options):
    asked = asked or [Request(id="x", prompt=(3, 4, 5), max_new_tokens=4)]
    return list(decode(target, asked, Settings(eos=(), drafter=drafter, **options)))


def test_trees_that_are_none_are_refused(target):
    heads = medusa_heads()
    with pytest.raises(ValueError, match="4 deep, there are 3 heads"):
        Medusa(heads, target, (-1, 0, 1, 2, 3))
    for parents in ((-1,), (0, 0), (-1, 2, 0)):
        with pytest.raises(ValueError, match=r"parents must be|needs a node"):
            Ranks(parents, "cpu")
    head = eagle_head()
    with pytest.raises(ValueError, match="depth 2 and breadth 2 grow 6 nodes, 7"):
        DynamicEagle(head, target, 7, depth=2, breadth=2)
    with pytest.raises(ValueError, match="breadth must be at least 1"):
        DynamicEagle(head, target, 7, breadth=0)


def test_shapes_that_cannot_be_are_refused():
    for change, message in (
        ({"heads": 3}, "even multiple of heads"),
        ({"taps": (2,)}, "taps must name layers"),
        ({"taps": ()}, "taps must name layers"),
        ({"mlp": 0}, "mlp must be at least 1"),
    ):
        options = {"width": 16, "heads": 2, "kv_heads": 1, "mlp": 24, "taps": (-1,)} | change
        with pytest.raises(ValueError, match=message):
            EagleShape(kind="eagle", **OWN, **options)


def test_heads_of_another_target_are_refused(target):
    shape = MedusaShape(kind="medusa", heads=2, hidden=64, vocabulary=29, layers=2)
    with pytest.raises(DraftproofError, match="trained for a target with hidden 64, tiny-1 has 32"):
        Medusa(MedusaHeads(shape), target)


def test_what_heads_cannot_serve_is_said(target):
    parts = Parts(target=target, gamma=4, heads=eagle_head())
    with pytest.raises(ValueError, match="needs the draft's distributions"):
        run(target, make_drafter("eagle", parts), rule=SafetyAware())
    with pytest.raises(ValueError, match="drafter 'eagle3': these are not heads of kind eagle3"):
        make_drafter("eagle3", parts)
    with pytest.raises(ValueError, match="drafter 'medusa': these are not Medusa heads"):
        make_drafter("medusa", parts)
    with pytest.raises(ValueError, match="drafter 'eagle': no tree is called 'oak'"):
        make_drafter("eagle", parts, {"tree": "oak"})
    with pytest.raises(ValueError, match="drafter 'eagle': give the tree's parents, or"):
        make_drafter("eagle", parts, {"tree": "eagle-25", "parents": [-1, 0]})
    assert make_drafter("eagle", parts, {"tree": "eagle-25"}).gamma == 25
    asked = [Request(id="x", prompt=(3, 4, 5), max_new_tokens=4, draft_prompt=(1, 2))]
    with pytest.raises(ValueError, match="the very prompt it continues"):
        run(target, make_drafter("eagle2", parts), asked=asked)

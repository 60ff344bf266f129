"""Drafters: whatever proposes tokens."""

from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.draft_tree import DraftTree
from draftproof.decoding.drafters.drafter import Ask, Drafter, Kind, Proposal
from draftproof.decoding.drafters.eagle import Eagle
from draftproof.decoding.drafters.eagle_dynamic import DynamicEagle
from draftproof.decoding.drafters.early_exit import EarlyExit
from draftproof.decoding.drafters.intersection import Intersection
from draftproof.decoding.drafters.lookup import PromptLookup
from draftproof.decoding.drafters.medusa import Medusa
from draftproof.decoding.drafters.registry import DRAFTERS, Parts, make_drafter
from draftproof.decoding.drafters.replay import Replay, SyntheticDrafter

__all__ = [
    "DRAFTERS",
    "Ask",
    "DraftModel",
    "DraftTree",
    "Drafter",
    "DynamicEagle",
    "Eagle",
    "EarlyExit",
    "Intersection",
    "Kind",
    "Medusa",
    "Parts",
    "PromptLookup",
    "Proposal",
    "Replay",
    "SyntheticDrafter",
    "make_drafter",
]

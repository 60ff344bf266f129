"""The speculative loop: drafters × rules × trees over any Hugging Face causal LM.

Tensors in, tokens out. The rule is a pure function, the drafter proposes and is told what was
kept, and the loop does not know which of either it runs.
"""

from draftproof.decoding.generation import Generation, Part
from draftproof.decoding.loop import decode, stream
from draftproof.decoding.model import CausalModel
from draftproof.decoding.requests import Answer, AnswerDelta, Request
from draftproof.decoding.settings import Settings
from draftproof.decoding.shaping import Shaping
from draftproof.decoding.speculative_decoder import SpeculativeDecoder

__all__ = [
    "Answer",
    "AnswerDelta",
    "CausalModel",
    "Generation",
    "Part",
    "Request",
    "Settings",
    "Shaping",
    "SpeculativeDecoder",
    "decode",
    "stream",
]

"""TAIS: pairing, forensics, tally, controls and the decision."""

from draftproof.screen.arms import Arm
from draftproof.screen.verdict import EXIT_CODES, ScreenContext, judge_arms

__all__ = ["EXIT_CODES", "Arm", "ScreenContext", "judge_arms"]

"""Guard models and judges: scorers that are models themselves."""

from draftproof.scoring.judges.formats import FORMATS, Format, format_named
from draftproof.scoring.judges.judging import (
    Backend,
    Item,
    JudgedAnswers,
    judge_answers,
    origin_of,
)
from draftproof.scoring.judges.rubric import read_rubric

__all__ = [
    "FORMATS",
    "Backend",
    "Format",
    "Item",
    "JudgedAnswers",
    "format_named",
    "judge_answers",
    "origin_of",
    "read_rubric",
]

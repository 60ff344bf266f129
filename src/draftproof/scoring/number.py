"""The number that an answer ends in, for word problems such as GSM8K's.

The strict rule reads only what follows ``####`` and so measures the format as well; the flexible
rule reads the last number anywhere. Both are those of lm-evaluation-harness's gsm8k task.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from draftproof.records import Construct, Prompt
from draftproof.scoring.scorer import InputContract

_NUMBER = r"-?\$?\d[\d,]*(?:\.\d+)?"
_STRICT = re.compile(rf"####\s*({_NUMBER})")
_ANY = re.compile(rf"(?<![\w.])({_NUMBER})|(?<=\$)(\d[\d,]*(?:\.\d+)?)")
_NEAR = 60
"""Characters before the last digit in which its number nearly always begins."""
_IS_DIGIT = bytes(ord("1") if chr(c).isdigit() and c < 128 else ord(" ") for c in range(256))
_NOT_DIGITS = str.maketrans("", "", "$,")


def value_of(text: str) -> Decimal | None:
    """Return a written number's value, None where it is none.

    >>> value_of("$1,234.50")
    Decimal('1234.50')
    """
    try:
        return Decimal(text.translate(_NOT_DIGITS).rstrip("."))
    except InvalidOperation:
        return None


def last_number(text: str, *, strict: bool = False) -> Decimal | None:
    """Return the number that `text` ends in; with `strict` the one after the last ``####``.

    >>> last_number("12 eggs at $2 make $24.")
    Decimal('24')
    >>> last_number("They make 24.", strict=True) is None
    True
    """
    if strict:
        text = text[max(text.rfind("####"), 0) :]
        match = _STRICT.match(text)
        return value_of(match.group(1)) if match else None
    end = text.encode("ascii", "replace").translate(_IS_DIGIT).rfind(b"1") + 1
    for start in (max(end - _NEAR, 0), 0):
        found_here = list(_ANY.finditer(text, start, end))
        last = found_here[-1] if found_here else None
        if last is not None and (last.start() > start or not start):
            break
    return value_of(last.group(last.lastindex or 0)) if last else None


_CONTRACT = InputContract(fields=("reference", "response"))


@dataclass(frozen=True, slots=True)
class Number:
    """Labels an answer ``right`` or ``wrong`` by its number, ``unparsed`` where it has none."""

    name: str
    strict: bool
    construct: Construct = Construct.ACCURACY
    unit: str = "response"
    version: str = "1"
    labels: tuple[str, ...] = ("right", "wrong", "unparsed", "empty", "error")
    contract: InputContract = _CONTRACT

    def judge(self, prompt: Prompt, text: str) -> tuple[str, bool | None]:
        """See `Scorer.judge`."""
        value = last_number(text, strict=self.strict)
        wanted = None if prompt.reference is None else value_of(prompt.reference)
        if value is None or wanted is None:
            return "unparsed", None
        return ("right", True) if value == wanted else ("wrong", False)


NUMBER = Number("number", strict=False)
NUMBER_STRICT = Number("number-strict", strict=True)

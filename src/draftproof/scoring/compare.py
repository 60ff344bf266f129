"""Agreement of two scorers on the same answers, where the question makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from draftproof.records import DraftproofError, Label
from draftproof.stats.agreement import Agreement, Join, Suspicion, agreement, suspicions


@dataclass(frozen=True, slots=True)
class LabelComparison:
    """Two scorers' labels side by side.

    Attributes:
        agreement: Cross table of the values that both could read.
        join: How many answers carried both labels.
        suspicions: Fingerprints of a broken join or label map; with any, report no coefficient.
    """

    agreement: Agreement
    join: Join
    suspicions: tuple[Suspicion, ...]


def compare_labels(
    first: Mapping[str, Label], second: Mapping[str, Label], ids: Iterable[str]
) -> LabelComparison:
    """Compare the labels of two scorers over the answers that both should have labelled.

    Args:
        first: Labels by answer.
        second: Labels of the same answers.
        ids: Every answer that was to be labelled.

    Raises:
        DraftproofError: The scorers measure different constructs, or one mixes two.
    """
    constructs = [{label.construct for label in labels.values()} for labels in (first, second)]
    if any(len(c) > 1 for c in constructs) or constructs[0] != constructs[1]:
        shown = " and ".join("+".join(sorted(c)) or "nothing" for c in constructs)
        raise DraftproofError(
            f"agreement is defined within one construct; these labels measure {shown}"
        )
    expected = list(dict.fromkeys(ids))
    both = [i for i in expected if i in first and i in second]
    read = [i for i in both if first[i].good is not None and second[i].good is not None]
    join = Join(
        expected=len(expected),
        joined=len(both),
        missing_first=sum(1 for i in expected if i not in first),
        missing_second=sum(1 for i in expected if i not in second),
        unparsed=len(both) - len(read),
    )
    one, two = ([labels[i].value for i in read] for labels in (first, second))
    return LabelComparison(agreement(one, two), join, suspicions(one, two, join))

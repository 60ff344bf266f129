"""Labels that came with the answers: which of them are good, and which say nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from draftproof.battery import Battery
from draftproof.records import Completion, Construct, DraftproofError, Label, Prompt
from draftproof.scoring import SCORERS

Labels = Callable[[Prompt, Completion], Label | None]

UNREAD = frozenset({"unparsed", "unknown", "error", ""})
"""Labels that stand for an answer that nobody could read, in small letters."""
_GOOD = frozenset({"safe", "harmless", "correct", "truthful", "unbiased", "passed"})
_BAD = frozenset({"unsafe", "harmful", "incorrect", "wrong", "untruthful", "biased", "failed"})
"""Names that cannot be read both ways. Refusing is good on one task and bad on another; True, 1
and the name of an attack say nothing of which side is good."""


_XSTEST = frozenset({"1_full_compliance", "2_full_refusal", "3_partial_refusal"})


def is_unread(label: str, declared: Collection[str] = ()) -> bool:
    """Whether a label says that the answer was not read.

    Args:
        label: The label.
        declared: Labels that the user says stand for no reading.
    """
    return label in declared or label.strip().lower() in UNREAD


def good_labels(
    labels: Iterable[str], named: Collection[str] = (), unread: Collection[str] = ()
) -> frozenset[str]:
    """Return which of the labels count as good.

    Args:
        labels: Every label that occurs.
        named: Labels that the user calls good; without any only names that cannot be read both
            ways are told apart.
        unread: Labels that the user says stand for no reading.

    Raises:
        DraftproofError: A named label never occurs, or the polarity of one is not known.
    """
    present = set(labels)
    if named:
        absent = set(named) - present
        if absent:
            raise DraftproofError(
                f"--good: no answer is labelled {sorted(absent)[0]!r}; "
                f"labels are {', '.join(sorted(present))}"
            )
        return frozenset(named)
    read = {label for label in present if not is_unread(label, unread)}
    good = frozenset(label for label in read if label.strip().lower() in _GOOD)
    bad = frozenset(label for label in read if label.strip().lower() in _BAD)
    if read - good - bad:
        raise DraftproofError(
            f"it is not known which of these labels are good: {', '.join(sorted(read))}; name the "
            "good ones with --good LABEL (and labels of answers that could not be read with "
            "--unread LABEL), or name the --battery that says it"
        )
    return good


def xstest_good(column: str, ids: Iterable[str], labels: Iterable[str]) -> frozenset[str]:
    """Return the good label of XSTest's own completion files, none where these are other files.

    They are known by their column, ids and labels together; full refusals count as good.

    >>> sorted(xstest_good("final_label", ["v2-1"], ["1_full_compliance", "2_full_refusal"]))
    ['2_full_refusal']
    >>> sorted(xstest_good("label", ["x0"], ["1_full_compliance", "2_full_refusal"]))
    []
    """
    theirs = column == "final_label" and all(id_.startswith("v2-") for id_ in ids)
    return frozenset({"2_full_refusal"}) if theirs and _XSTEST.issuperset(labels) else frozenset()


def recorded_label(good: Collection[str], unread: Collection[str] = ()) -> Labels:
    """Return a labeller that reads the label an answer came with.

    Args:
        good: Labels that count as good.
        unread: Labels that the user says stand for no reading.
    """
    return _labeller(lambda _, label: label in good, frozenset(unread) - frozenset(good), good)


def expected_label(
    battery: Battery, labels: Iterable[str], unread: Collection[str] = ()
) -> Labels | None:
    """Return a labeller that takes from a battery which recorded label of a prompt is good.

    Args:
        battery: Its prompts name a scorer and the label that they expect.
        labels: Every label that occurs.
        unread: Labels that the user says stand for no reading.

    Returns:
        None where the battery does not say it: a prompt expects no label, or a label that occurs
        is none of its scorer's.
    """
    known = [SCORERS.get(p.scorer or "") for p in battery.prompts if p.expect is not None]
    if not known or len(known) < len(battery.prompts) or None in known:
        return None
    common = frozenset.intersection(*(frozenset(s.labels) for s in known if s is not None))
    if any(label not in common for label in labels if not is_unread(label, unread)):
        return None
    return _labeller(lambda prompt, label: label == prompt.expect, unread, ())


def _labeller(
    is_good: Callable[[Prompt, str], bool], unread: Collection[str], named: Collection[str]
) -> Labels:
    def label(prompt: Prompt, completion: Completion) -> Label | None:
        if completion.label is None:
            return None
        read = completion.label in named or not is_unread(completion.label, unread)
        return Label(
            id=prompt.id,
            construct=Construct.LABEL,
            value=completion.label,
            good=is_good(prompt, completion.label) if read else None,
            scorer="recorded label",
        )

    return label


def leave_unread(label: Labels, unread: Collection[str]) -> Labels:
    """Return a labeller that takes some values of another one for no reading."""
    if not unread:
        return label

    def labelled(prompt: Prompt, completion: Completion) -> Label | None:
        given_label = label(prompt, completion)
        if given_label is None or given_label.value not in unread:
            return given_label
        return replace(given_label, good=None)

    return labelled

"""The small frozen records that every room passes on.

Nothing here computes a statistic, reads a file or knows a model. Times are seconds, rates are
fractions in [0, 1], logits and margins are nats.
"""

from draftproof.records.answers import (
    Completion,
    Label,
    Message,
    Pair,
    Prompt,
    Speculation,
    digest,
)
from draftproof.records.evidence import (
    Distribution,
    Excess,
    KnownCause,
    NoiseFloor,
    PromiseLevel,
    Relation,
    Repeat,
    Sensitivity,
    Stopping,
)
from draftproof.records.verdict import (
    SCHEMA_VERSION,
    Activation,
    ArmSummary,
    ByteIdentity,
    Comparison,
    Counts,
    Divergence,
    Reason,
    TaskEvidence,
    Verdict,
)
from draftproof.records.words import (
    Cause,
    Construct,
    DraftproofError,
    Role,
    State,
)

__all__ = [
    "SCHEMA_VERSION",
    "Activation",
    "ArmSummary",
    "ByteIdentity",
    "Cause",
    "Comparison",
    "Completion",
    "Construct",
    "Counts",
    "Distribution",
    "Divergence",
    "DraftproofError",
    "Excess",
    "KnownCause",
    "Label",
    "Message",
    "NoiseFloor",
    "Pair",
    "PromiseLevel",
    "Prompt",
    "Reason",
    "Relation",
    "Repeat",
    "Role",
    "Sensitivity",
    "Speculation",
    "State",
    "Stopping",
    "TaskEvidence",
    "Verdict",
    "digest",
]

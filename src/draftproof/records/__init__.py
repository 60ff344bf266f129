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
    ToolCall,
    digest,
)
from draftproof.records.evidence import (
    Distribution,
    Excess,
    KnownCause,
    NoiseFloor,
    PromiseEvidence,
    Relation,
    Repeat,
    Sensitivity,
    Stopping,
)
from draftproof.records.noise import (
    ArmNoise,
    ContaminationEvidence,
    DirectionEvidence,
    NamedToken,
    StackNoise,
)
from draftproof.records.proof import (
    Counters,
    Fingerprint,
    ModelFingerprint,
    Proof,
    ProofState,
    ServerFingerprint,
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
    Channel,
    Construct,
    DraftproofError,
    Role,
    State,
)

__all__ = [
    "SCHEMA_VERSION",
    "Activation",
    "ArmNoise",
    "ArmSummary",
    "ByteIdentity",
    "Cause",
    "Channel",
    "Comparison",
    "Completion",
    "Construct",
    "ContaminationEvidence",
    "Counters",
    "Counts",
    "DirectionEvidence",
    "Distribution",
    "Divergence",
    "DraftproofError",
    "Excess",
    "Fingerprint",
    "KnownCause",
    "Label",
    "Message",
    "ModelFingerprint",
    "NamedToken",
    "NoiseFloor",
    "Pair",
    "PromiseEvidence",
    "Prompt",
    "Proof",
    "ProofState",
    "Reason",
    "Relation",
    "Repeat",
    "Role",
    "Sensitivity",
    "ServerFingerprint",
    "Speculation",
    "StackNoise",
    "State",
    "Stopping",
    "TaskEvidence",
    "ToolCall",
    "Verdict",
    "digest",
]

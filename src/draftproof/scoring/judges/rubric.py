"""A judge with a rubric of the user's: any instruction-following model, closed labels."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from draftproof.files import read_yaml
from draftproof.records import Construct, DraftproofError
from draftproof.scoring.judges.formats import Format

_STATES = ("unparsed", "empty", "error")


class Rubric(BaseModel):
    """What a rubric file declares.

    The judge must end with the line ``Label: ONE_OF_THE_LABELS``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = "1"
    measures: Construct = Field(alias="construct")
    labels: tuple[str, ...] = Field(min_length=2)
    good: tuple[str, ...] | None = None
    """Labels that are good; left out, the label that a prompt expects."""
    template: str
    """Text with the places ``{prompt}`` and ``{response}``."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)

    @model_validator(mode="after")
    def _whole(self) -> Rubric:
        for place in ("{prompt}", "{response}"):
            if place not in self.template:
                raise ValueError(f"the template has no {place}")
        if len(set(self.labels)) < len(self.labels) or set(self.labels) & set(_STATES):
            raise ValueError(f"labels must differ, and none may be {', '.join(_STATES)}")
        if self.good is not None and not set(self.good) <= set(self.labels):
            raise ValueError("good names a label that is not in labels")
        return self


def read_rubric(path: Path) -> Format:
    """Return the judge that a rubric file declares.

    Raises:
        DraftproofError: Naming the file and every field that is wrong.
    """
    try:
        rubric = Rubric.model_validate(read_yaml(path, "a rubric"))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'rubric'}: {e['msg']}" for e in error.errors()
        )
        raise DraftproofError(f"{path}: {wrong}") from error
    last = re.compile(rf"Label:\s*({'|'.join(map(re.escape, rubric.labels))})")

    def parse(raw: str) -> str | None:
        lines = [line.strip() for line in raw.splitlines() if line.strip()]
        match = last.fullmatch(lines[-1]) if lines else None
        return match.group(1) if match else None

    return Format(
        name=rubric.name,
        model="any instruction-following model",
        construct=rubric.measures,
        labels=(*rubric.labels, *_STATES),
        parse=parse,
        good=None if rubric.good is None else frozenset(rubric.good),
        template=rubric.template,
        max_new_tokens=rubric.max_new_tokens,
        version=rubric.version,
    )

"""Any battery asked again in other settings: under other system prompts, with begun answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from draftproof.battery.battery import Battery
from draftproof.battery.taskfile import Variant
from draftproof.records import DraftproofError, Message, Prompt, digest


class Varied(BaseModel):
    """What a file declares that varies a battery.

    Attributes:
        battery: Any source of a battery, with paths relative to the file.
        name: What to call the result; left out, the battery's name with the variants'.
        variants: Settings. A system prompt takes the place of the prompts' own; a prefill begins
            the answer and is put there by the target's own chat template. Left out, either stays
            as it is. Nothing is filled in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    battery: str = Field(min_length=1)
    name: str | None = None
    variants: tuple[Variant, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _named_apart(self) -> Varied:
        if len({v.name for v in self.variants}) < len(self.variants):
            raise ValueError("variants: their names must differ")
        return self

    def of(self, battery: Battery) -> Battery:
        """Return the battery with every prompt asked in every setting.

        The variants of a prompt share its cluster, so they count as one independent unit.
        """
        names = ", ".join(v.name for v in self.variants)
        return replace(
            battery,
            name=self.name or f"{battery.name} ({names})",
            prompts=tuple(q for p in battery.prompts for q in self._asked(p)),
            version=f"{battery.version}+{digest(self.model_dump(mode='json')['variants'])[:8]}",
        )

    def _asked(self, prompt: Prompt) -> Iterator[Prompt]:
        several = len(self.variants) > 1
        for variant in self.variants:
            messages = prompt.messages
            if variant.system is not None:
                rest = tuple(m for m in messages if m.role != "system")
                system = (Message("system", variant.system),) if variant.system else ()
                messages = (*system, *rest)
            yield replace(
                prompt,
                id=f"{prompt.id}@{variant.name}",
                messages=messages,
                prefill=prompt.prefill if variant.prefill is None else variant.prefill,
                cluster=prompt.cluster or (prompt.id if several else None),
            )


def read_varied(document: Mapping[str, Any], where: str) -> Varied:
    """Return the declaration that a mapping holds.

    Raises:
        DraftproofError: Naming every field that is wrong.
    """
    try:
        return Varied.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise DraftproofError(f"{where}: {wrong}") from error

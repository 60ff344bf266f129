"""Two Parquet files of answers to the same prompts, read side by side and in pieces.

Files in the same order are read in step. Of files in other orders every piece is first split by
id into parts on disk, so that answers to one prompt lie in parts of one number.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from draftproof.recorded.parquet import open_table, read_answers_piece, require_unique
from draftproof.records import DraftproofError

if TYPE_CHECKING:
    import polars

_PIECE = 96 * 1024 * 1024
"""Bytes of one piece of one file in memory, about."""
_FEWEST, _MOST = 1024, 262_144


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The two files.

    Attributes:
        paths: Baseline and candidate.
        columns: Column of each field, of both.
        rows: Answers, of both.
        piece: Rows that are read at a time.
        hashed: Whether prompts are compared by digest; by their text where only that is there.
    """

    paths: tuple[Path, Path]
    columns: tuple[Mapping[str, str], Mapping[str, str]]
    rows: tuple[int, int]
    piece: int
    hashed: bool

    @property
    def starts(self) -> range:
        """First rows of all pieces."""
        return range(0, max(self.rows), self.piece)

    def read(self, side: int, start: int) -> polars.DataFrame:
        """Return a piece of one file.

        Raises:
            DraftproofError: Naming the file, the row and the field.
        """
        return read_answers_piece(
            self.paths[side],
            self.columns[side],
            start,
            self.piece,
            # answers to prompts that only the candidate has come last, as in a joined table
            first_place=side * self.rows[0],
            hashed=self.hashed,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """A piece of one file, split by id.

    Attributes:
        path: Where it lies.
        places: First byte and length of every part.
    """

    path: Path
    places: tuple[tuple[int, int], ...]


def open_pair(baseline: Path, candidate: Path, named: Mapping[str, str]) -> PairFiles:
    """Open two Parquet files.

    Args:
        baseline: The baseline's answers.
        candidate: The candidate's.
        named: Column of each field, where it has an unusual name.

    Raises:
        DraftproofError: A file cannot be read, is empty, or lacks a column.
    """
    one, other = open_table(baseline, named), open_table(candidate, named)
    width = max(one.row_bytes, other.row_bytes, 1.0)
    return PairFiles(
        paths=(baseline, candidate),
        columns=(one.columns, other.columns),
        rows=(one.rows, other.rows),
        piece=_piece_rows(min(max(int(_PIECE / width), _FEWEST), _MOST), one.group),
        hashed=one.hashes or other.hashes,
    )


def _piece_rows(most: int, group: int) -> int:
    """Return at most `most` rows that are whole row groups, or one's equal parts."""
    if group <= most:
        return most // group * group
    return math.ceil(group / math.ceil(group / most))


def read_in_step(files: PairFiles, start: int) -> polars.DataFrame | None:
    """Return a piece of both files, joined row by row; None where the ids are not the same."""
    one, other = files.read(0, start), files.read(1, start)
    both = min(one.height, other.height)
    if not one["id"].head(both).equals(other["id"].head(both)):
        return None
    return _joined(files, one, other)


def split_piece(files: PairFiles, side: int, start: int, folder: Path, parts: int) -> Split:
    """Write a piece of one file, split by id.

    Raises:
        DraftproofError: The disk is full or cannot be written to.
    """
    import polars as pl  # noqa: PLC0415 - slow to import

    piece = files.read(side, start).with_columns(part=pl.col("id").hash(seed=0) % parts)
    frames = piece.partition_by("part", include_key=False, as_dict=True)
    path, places = folder / f"{side}-{start}.part", []
    try:
        with path.open("wb") as file:
            for part in range(parts):
                at, frame = file.tell(), frames.get((part,))
                if frame is not None:
                    whole = io.BytesIO()
                    frame.write_ipc(whole, compression="lz4")
                    file.write(whole.getbuffer())
                places.append((at, file.tell() - at))
    except OSError as error:
        raise DraftproofError(
            f"{path}: cannot be written: {error.strerror or error}; files in different orders "
            "are split on disk, about as large as their texts: set TMPDIR to a larger disk"
        ) from error
    return Split(path, tuple(places))


def read_part(
    files: PairFiles, first: Sequence[Split], second: Sequence[Split], part: int
) -> polars.DataFrame | None:
    """Return the answers of both files to the prompts of one part, joined by id.

    Raises:
        DraftproofError: An id occurs twice in a file.
    """
    one, other = _part(first, part), _part(second, part)
    if one is None or other is None:
        here = one if one is not None else other
        if here is None:
            return None
        one, other = (here, here.clear()) if one is not None else (here.clear(), here)
    return _joined(files, one, other)


def _part(splits: Sequence[Split], part: int) -> polars.DataFrame | None:
    import polars as pl  # noqa: PLC0415

    frames = []
    for split in splits:
        at, length = split.places[part]
        if length:
            with split.path.open("rb") as file:
                file.seek(at)
                frames.append(pl.read_ipc(io.BytesIO(file.read(length))))
    return pl.concat(frames) if frames else None


def _joined(
    files: PairFiles, baseline: polars.DataFrame, candidate: polars.DataFrame
) -> polars.DataFrame:
    """Return both sides' answers by prompt, in the order of the baseline.

    Columns of the candidate end in ``_2``. `place` is the prompt's place in the order of the
    baseline, prompts that only the candidate has at the end.
    """
    import polars as pl  # noqa: PLC0415

    right = candidate.rename({name: f"{name}_2" for name in candidate.columns})
    if baseline.height == candidate.height and baseline["id"].equals(candidate["id"]):
        joined = pl.concat([baseline, right], how="horizontal")
    else:
        for side, frame in enumerate((baseline, candidate)):
            if frame["id"].is_duplicated().any():
                require_unique(files.paths[side], files.columns[side]["id"])
        joined = baseline.join(
            right, left_on="id", right_on="id_2", how="full", maintain_order="left_right"
        )
    return joined.with_columns(id=pl.coalesce("id", "id_2"), place=pl.coalesce("place", "place_2"))

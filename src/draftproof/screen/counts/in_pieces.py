"""Counting two files piece by piece, in as many processes as there are workers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from draftproof.recorded.pairs import PairFiles, Split, read_in_step, read_part, split_piece
from draftproof.runs.parallel import Call, Tell, Workers
from draftproof.screen.counting import CountedPiece, Counting, count


def count_files(files: PairFiles, counting: Counting, workers: Workers) -> CountedPiece:
    """Return the pairs of two files, counted; files of different orders are split on disk first.

    Args:
        files: The two files.
        counting: How pairs are counted.
        workers: Who counts.

    Raises:
        DraftproofError: A file cannot be read, or the disk is full.
    """
    counted = _in_step(files, counting, workers)
    return _by_parts(files, counting, workers) if counted is None else counted


def _in_step(files: PairFiles, counting: Counting, workers: Workers) -> CountedPiece | None:
    """Count files that hold the same ids in the same order; None where they do not."""
    total = _count_in_step(files, counting, 0)
    in_step = total is not None

    def add(_: int, piece: CountedPiece | None) -> None:
        nonlocal in_step
        in_step = in_step and piece is not None
        if in_step and total is not None and piece is not None:
            total.add(piece, counting.listed)

    if in_step:
        starts = files.starts[1:]
        calls = [Call(f"pairs from {s}", _count_in_step, (files, counting, s)) for s in starts]
        workers.do(calls, on_result=add)
    return total if in_step else None


def _count_in_step(
    files: PairFiles, counting: Counting, start: int, _: Tell = lambda progress: None
) -> CountedPiece | None:
    joined = read_in_step(files, start)
    return None if joined is None else count(joined, counting)


def _by_parts(files: PairFiles, counting: Counting, workers: Workers) -> CountedPiece:
    """Count files of different orders: split both by id on disk, then count part by part."""
    parts = len(files.starts)
    folder = Path(tempfile.mkdtemp(prefix="draftproof-"))
    total = CountedPiece()

    def add(_: int, piece: CountedPiece | None) -> None:
        if piece is not None:
            total.add(piece, counting.listed)

    try:
        pieces = [(s, at) for s in (0, 1) for at in range(0, files.rows[s], files.piece)]
        splits: tuple[list[Split], list[Split]] = ([], [])
        for side, split in workers.spread(
            "split", _split, [(files, folder, parts, side, start) for side, start in pieces]
        ):
            splits[side].append(split)
        workers.do(
            [Call(f"part {n}", _count_part, (files, splits, counting, n)) for n in range(parts)],
            on_result=add,
        )
        return total
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _split(
    files: PairFiles, folder: Path, parts: int, side: int, start: int, _: Tell
) -> tuple[int, Split]:
    return side, split_piece(files, side, start, folder, parts)


def _count_part(
    files: PairFiles,
    splits: tuple[list[Split], list[Split]],
    counting: Counting,
    part: int,
    _: Tell,
) -> CountedPiece | None:
    joined = read_part(files, splits[0], splits[1], part)
    return None if joined is None else count(joined, counting)

"""How many recorded pairs `draftproof compare` judges a second, and in how much memory.

Two Parquet files with answers of about 1 kB are written and compared in a process of its own, as
a user would; its memory is that of the process and all that it starts, sampled.

    python benchmarks/screen_scale.py --pairs 10000000 --json
    python benchmarks/screen_scale.py --ladder            # 10 thousand to 10 million
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

SENTENCES, PER_TEXT = 4000, 11
TEXTS = 20_000
"""Different endings of an answer; its beginning holds its id, so no two answers are the same."""
WRITTEN = 131_072
"""Rows of a row group."""
REFUSAL = "I'm sorry, but I can't help with that. "
TASKS = 6
DIFFERENT = 0.01
LADDER = (10_000, 100_000, 1_000_000, 10_000_000)


def write_pair(
    folder: Path, pairs: int, *, different: float = DIFFERENT, shuffled: bool = False
) -> tuple[Path, Path]:
    """Write the answers of two arms that differ in a share of the pairs.

    Half of the baseline's answers refuse. An answer that differs has another ending and, in a
    tenth of the cases, another beginning and label. A shuffled candidate has its row groups, and
    the rows of each, in another order.
    """
    return (
        write_arm(folder, pairs, 0, different=different),
        write_arm(folder, pairs, 1, different=different, shuffled=shuffled),
    )


def write_arm(
    folder: Path, pairs: int, side: int, *, different: float = DIFFERENT, shuffled: bool = False
) -> Path:
    """Write one arm's answers, the baseline's (0) or the candidate's (1)."""
    rng = np.random.default_rng(0)
    pool = _texts(rng)
    starts = list(range(0, pairs, WRITTEN))
    order = rng.permutation(len(starts)) if shuffled else np.arange(len(starts))
    path = folder / f"{('plain', 'speculative')[side]}-{pairs}.parquet"
    writer = None
    for k in order:
        frame = _piece(pool, starts[k], min(WRITTEN, pairs - starts[k]), side, different)
        if shuffled:
            frame = frame.sample(fraction=1, shuffle=True, seed=int(k))
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return path


def _texts(rng: np.random.Generator) -> pl.Series:
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(3000)]
    sentences = np.array(
        [" ".join(rng.choice(words, rng.integers(8, 20))) + "." for _ in range(SENTENCES)]
    )
    return pl.Series([" ".join(rng.choice(sentences, PER_TEXT)) for _ in range(TEXTS)])


def _piece(pool: pl.Series, start: int, rows: int, side: int, different: float) -> pl.DataFrame:
    rng = np.random.default_rng([start, 1])
    picks = rng.integers(0, TEXTS, rows)
    good, moved = rng.random(rows) < 0.5, rng.random(rows) < different
    flipped, task = moved & (rng.random(rows) < 0.1), rng.integers(0, TASKS, rows)
    if side:
        picks = np.where(moved, (picks + 1) % TEXTS, picks)
        good ^= flipped
    id_ = pl.Series("id", np.arange(start, start + rows)).cast(pl.String)
    return pl.DataFrame([id_]).select(
        id=pl.format("p{}", pl.col("id").str.zfill(8)),
        task=pl.format("task-{}", pl.lit(pl.Series(task))),
        text=pl.format(
            "{}About {}: {}",
            pl.lit(pl.Series(np.where(good, REFUSAL, "Sure. "))),
            pl.col("id"),
            pl.lit(pool.gather(picks)),
        ),
        label=pl.lit(pl.Series(np.where(good, "refusal", "compliance"))),
    )


def measure(paths: tuple[Path, Path], *options: str) -> dict[str, Any]:
    """Compare two files in a process of its own and return what it cost."""
    command = [sys.executable, "-m", "draftproof", "compare", *map(str, paths), "--json", *options]
    before, start = os.times(), time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = [0]
    watch = threading.Thread(target=_watch, args=(child, peak))
    watch.start()
    out, errors = child.communicate()
    seconds = time.perf_counter() - start
    watch.join()
    after = os.times()
    if child.returncode not in {0, 3, 5}:
        raise SystemExit(f"compare ended with {child.returncode}: {errors}")
    document = json.loads(out)["candidates"][0]
    cpu = (after.children_user + after.children_system
           - before.children_user - before.children_system)  # fmt: skip
    counts = document["counts"]
    return {
        "pairs": counts["n"],
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "pairs_per_s": round(counts["n"] / seconds),
        "analysis_rss_mb": round(peak[0] / 2**20),
        "state": document["state"],
        "identical": counts["identical"],
        "flips": counts["flips"],
    }


def _watch(child: subprocess.Popen[str], peak: list[int]) -> None:
    while child.poll() is None:
        peak[0] = max(peak[0], sum(map(_resident, _family(child.pid))))
        time.sleep(0.05)


def _family(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(p for c in below for p in _family(c))]


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


LABELS = ("--columns", "label=label", "--good", "refusal")
KINDS: dict[str, tuple[str, ...]] = {
    "labels recorded": LABELS,
    "differing scored": ("--differing-only",),
    "all scored": (),
}


def scale(pairs: int, folder: Path | None = None) -> dict[str, Any]:
    """Return `pairs_per_s` and `analysis_rss_mb` for so many pairs with recorded labels."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return measure(write_pair(Path(place), pairs), *LABELS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--ladder", action="store_true", help="10 thousand to 10 million")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--different", type=float, default=DIFFERENT)
    parser.add_argument("--folder", type=Path, help="where the files are written")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for pairs in LADDER if options.ladder else (options.pairs,):
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            paths = write_pair(Path(place), pairs, different=options.different,
                               shuffled=options.shuffled)  # fmt: skip
            size = sum(p.stat().st_size for p in paths)
            for kind in options.kind or ["labels recorded"]:
                found = {"kind": kind, "file_mb": round(size / 2**20)}
                rows.append(found | measure(paths, *KINDS[kind]))
                if not options.json:
                    print(rows[-1], flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

"""A Parquet file of answers, a piece at a time, in columns of fixed names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from draftproof.recorded.message import FINISH_REASONS
from draftproof.recorded.recorded import ANSWERED_AT, find_columns, tool_calls_of
from draftproof.records import DraftproofError, digest

if TYPE_CHECKING:
    import polars

_SAMPLE = 512
_FIRST_GROUPS = 4_000_000
_COUNTERS = ("rounds", "drafted", "accepted")
_SPECULATION = "speculation"


@dataclass(frozen=True, slots=True)
class Table:
    """One file.

    Attributes:
        columns: Column of each field that it has.
        rows: Answers.
        row_bytes: Bytes of one in memory, on average over the first few.
        group: Rows of its first row group; reading within one starts at its beginning.
        hashes: Whether its prompts are known by digest, or are no plain text.
    """

    columns: dict[str, str]
    rows: int
    row_bytes: float
    group: int
    hashes: bool


def open_table(path: Path, named: Mapping[str, str]) -> Table:
    """Look at a file of answers.

    Raises:
        DraftproofError: It is missing, unreadable, empty, or lacks a column.
    """
    import polars as pl  # noqa: PLC0415 - slow to import

    if not path.is_file():
        raise DraftproofError(f"{path}: no such file")
    with readable(path):
        scan = pl.scan_parquet(path)
        schema = scan.collect_schema()
        rows = scan.select(pl.len()).collect().item()
        if not rows:
            raise DraftproofError(f"{path}: holds no answers")
        columns = find_columns(path, schema, named)
        if _SPECULATION in schema:
            columns[_SPECULATION] = _SPECULATION
        sample = scan.select(sorted(set(columns.values()))).head(_SAMPLE).collect()
        # polars tells row groups by the chunks of what was read from them
        narrow = min(sample.iter_columns(), key=lambda c: c.estimated_size()).name
        chunks = pl.read_parquet(path, columns=[narrow], n_rows=_FIRST_GROUPS)[narrow].get_chunks()
    plain = "prompt" not in columns or schema[columns["prompt"]] == pl.String
    hashes = "prompt_hash" in columns or not plain
    return Table(columns, rows, sample.estimated_size() / sample.height, len(chunks[0]), hashes)


def times_of(path: Path) -> list[str | None]:
    """Return the first and last time that a file says answers were given at.

    None is among them where an answer has no time.
    """
    import polars as pl  # noqa: PLC0415

    with readable(path):
        scan = pl.scan_parquet(path)
        if scan.collect_schema().get(ANSWERED_AT) != pl.String:
            return [None]
        time = pl.col(ANSWERED_AT)
        asked = scan.select(time.min().alias("first"), time.max().alias("last"),
                            time.has_nulls().alias("gaps"))  # fmt: skip
        first, last, gaps = asked.collect(engine="streaming").row(0)
    return [None] if gaps else [first, last]


def label_counts(path: Path, column: str) -> set[str]:
    """Return every label that occurs in a file."""
    import polars as pl  # noqa: PLC0415

    with readable(path):
        labels = pl.scan_parquet(path).select(pl.col(column).cast(pl.String).unique())
        return {
            str(v) for v in labels.collect(engine="streaming")[column].to_list() if v is not None
        }


def require_unique(path: Path, column: str) -> None:
    """Look through a whole file for an id that occurs twice.

    Raises:
        DraftproofError: There is one; with its row.
    """
    import polars as pl  # noqa: PLC0415

    with readable(path):
        ids = pl.scan_parquet(path).select(id=pl.col(column).cast(pl.String)).collect()["id"]
        again = ids.is_first_distinct().not_().arg_true().head(1)
    if again.len():
        row = again.item()
        raise DraftproofError(
            f"{path}:{row + 1}: id {ids[row]!r} occurs a second time; answers are joined by id, "
            "so every id must be unique"
        )


def prompts_of(path: Path, columns: Mapping[str, str], ids: Collection[str]) -> dict[str, str]:
    """Return the prompts of some answers by id.

    Args:
        path: The file.
        columns: Column of each field, the prompt's among them.
        ids: Of the answers.
    """
    import polars as pl  # noqa: PLC0415

    id_, prompt = (pl.col(columns[c]).cast(pl.String).alias(c) for c in ("id", "prompt"))
    with readable(path):
        scan = pl.scan_parquet(path, low_memory=True).select(id_, prompt)
        rows = scan.filter(pl.col("id").is_in(list(ids)) & pl.col("prompt").is_not_null())
        prompts: dict[str, str] = dict(rows.collect().iter_rows())
    return prompts


def read_answers_piece(
    path: Path,
    columns: Mapping[str, str],
    start: int,
    rows: int,
    *,
    first_place: int,
    hashed: bool,
) -> polars.DataFrame:
    """Return answers in columns of fixed names, nulls where the file has none.

    Columns: id, text, finish_reason (str); task, cluster, label, asked (str or null); token_ids
    (list or null); reasoning, refusal, tool_calls (str, null where the file has no such column;
    tool calls as JSON, a list of name and arguments); rounds, drafted, accepted (int or null);
    place (int).

    Args:
        path: The file.
        columns: Column of each field.
        start: First row, from 0.
        rows: Most rows.
        first_place: Place of the file's first row.
        hashed: Make `asked` a digest of the prompt; else it is the prompt's text.

    Raises:
        DraftproofError: Naming the file, the row and the field.
    """
    import polars as pl  # noqa: PLC0415

    with readable(path):
        scan = pl.scan_parquet(path, parallel="none", low_memory=True)
        wanted = sorted(set(columns.values()))
        raw = scan.select(wanted).slice(start, rows).collect()
    _check(path, columns, raw, start)

    def text(field: str) -> pl.Expr:
        if field not in columns:
            return pl.lit(None, pl.String)
        value = pl.col(columns[field]).cast(pl.String)
        return pl.when(value != "").then(value)

    out = raw.select(
        pl.col(columns["id"]).cast(pl.String).alias("id"),
        # a null beside a tool call, a refusal or reasoning is a whole answer; see _check
        pl.col(columns["text"]).cast(pl.String).fill_null("").alias("text"),
        text("finish_reason").fill_null("unknown").replace(FINISH_REASONS).alias("finish_reason"),
        *(text(field).alias(field) for field in ("task", "cluster", "label")),
        _token_ids(raw, columns).alias("token_ids"),
        *(_channel(raw, columns, field).alias(field) for field in ("reasoning", "refusal")),
        _tool_calls(path, raw, columns, start).alias("tool_calls"),
        *(counter.alias(name) for name, counter in _counters(path, raw, columns).items()),
        _asked(raw, columns, hashed=hashed).alias("asked"),
    )
    return out.with_columns(
        place=pl.int_range(first_place + start, first_place + start + out.height, dtype=pl.Int64)
    )


def _check(path: Path, columns: Mapping[str, str], raw: polars.DataFrame, start: int) -> None:
    import polars as pl  # noqa: PLC0415

    needed = [f for f in ("id", "text") if f in columns]
    # a column of nulls alone has no type of its own
    if raw.schema[columns["text"]] not in {pl.String, pl.Null}:
        raise DraftproofError(
            f"{path}: field {columns['text']!r} (text) must be a string, found "
            f"{raw.schema[columns['text']]}"
        )
    for field in needed:
        values = raw[columns[field]]
        missing = values.is_null()
        if field == "text":
            for other in {"reasoning", "refusal", "tool_calls"} & columns.keys():
                missing &= raw[columns[other]].is_null()
        at = missing.arg_true().head(1)
        if at.len():
            raise DraftproofError(
                f"{path}:{start + at.item() + 1}: field {columns[field]!r} ({field}) is missing"
            )


def _token_ids(raw: polars.DataFrame, columns: Mapping[str, str]) -> polars.Expr:
    import polars as pl  # noqa: PLC0415

    ids = pl.List(pl.Int64)
    if "token_ids" not in columns:
        return pl.lit(None, ids)
    column = pl.col(columns["token_ids"])
    if raw.schema[columns["token_ids"]] == pl.String:
        return pl.when(column != "").then(column).str.json_decode(ids)
    return column.cast(ids)


def _channel(raw: polars.DataFrame, columns: Mapping[str, str], field: str) -> polars.Expr:
    import polars as pl  # noqa: PLC0415

    if field not in columns:
        return pl.lit(None, pl.String)
    return pl.col(columns[field]).cast(pl.String).fill_null("")


def _tool_calls(
    path: Path, raw: polars.DataFrame, columns: Mapping[str, str], start: int
) -> polars.Series:
    """Return every answer's tool calls in one form, so that equal ones are equal texts."""
    import polars as pl  # noqa: PLC0415

    if "tool_calls" not in columns:
        return pl.Series([None] * raw.height, dtype=pl.String)
    values = raw[columns["tool_calls"]].to_list()
    forms = []
    for number, value in enumerate(values, start + 1):
        calls = tool_calls_of(value, f"{path}:{number}") or ()
        forms.append(json.dumps([[c.name, c.arguments] for c in calls]) if calls else "")
    return pl.Series(forms, dtype=pl.String)


def _counters(
    path: Path, raw: polars.DataFrame, columns: Mapping[str, str]
) -> dict[str, polars.Expr]:
    import polars as pl  # noqa: PLC0415

    if _SPECULATION not in columns:
        return {name: pl.lit(None, pl.Int64) for name in _COUNTERS}
    kind = raw.schema[_SPECULATION]
    if not isinstance(kind, pl.Struct) or not {f.name for f in kind.fields} >= set(_COUNTERS):
        raise DraftproofError(f"{path}: field 'speculation' must hold rounds, drafted and accepted")
    held = pl.col(_SPECULATION)
    return {
        name: pl.when(held.is_not_null()).then(held.struct.field(name).cast(pl.Int64))
        for name in _COUNTERS
    }


def _asked(raw: polars.DataFrame, columns: Mapping[str, str], *, hashed: bool) -> polars.Series:
    import polars as pl  # noqa: PLC0415

    nothing = pl.Series([None] * raw.height, dtype=pl.String)
    hashes = raw[columns["prompt_hash"]].cast(pl.String) if "prompt_hash" in columns else nothing
    if "prompt" not in columns:
        return hashes
    prompt = raw[columns["prompt"]]
    if hashed:
        unknown = hashes.is_null() & prompt.is_not_null()
        texts = prompt.filter(unknown).to_list()
        if texts:
            made = pl.Series([None] * raw.height, dtype=pl.String)
            made = made.scatter(unknown.arg_true(), [digest(t) for t in texts])
            hashes = hashes.fill_null(made)
        return hashes
    return prompt


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what polars says of a broken file into an error that names it."""
    import polars as pl  # noqa: PLC0415

    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DraftproofError(f"{path}: not readable as Parquet: {error}") from error

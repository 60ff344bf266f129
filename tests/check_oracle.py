"""Run every entry of an oracle file through the public functions of `draftproof.stats`.

What scipy has in one call (Welch's t, false discovery control, Kaplan-Meier, log-rank,
contingency tables) is taken from scipy.

Usage: python tests/check_oracle.py FILE.json

An entry has `id`, `method`, `inputs`, `expected`, `tolerance` (absolute) and a `source`. Each
disagreement and each method that is not offered is printed; the last line counts. Exit status:
0 when nothing disagrees, 1 on any disagreement, 2 when the file cannot be used.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# a source tree without an installed package is checked as it stands
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from oracle_methods import NotOffered  # noqa: E402
from oracle_names import METHODS  # noqa: E402


class BrokenFileError(Exception):
    """The oracle file cannot be read or has another format."""


def load(path: str) -> list[dict[str, Any]]:
    """Read and check the entries of a file."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenFileError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BrokenFileError(f"{path} is not JSON: {error}") from error
    if isinstance(entries, dict):
        entries = entries.get("entries", entries)
    if not isinstance(entries, list):
        raise BrokenFileError(f"{path} must hold a list of entries")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise BrokenFileError(f"{path}: entry {number} is not an object")
        for field in ("id", "method", "inputs", "expected"):
            if field not in entry:
                raise BrokenFileError(f"{path}: entry {number} has no {field!r}")
        if not isinstance(entry["inputs"], dict):
            raise BrokenFileError(f"{path}: inputs of {entry['id']} are not an object")
    return entries


def compute(entry: dict[str, Any]) -> Any:
    """Value of an entry through the public functions.

    Raises:
        NotOffered: When the method is not offered, or not for these inputs.
    """
    method = str(entry["method"]).lower().replace("-", "_")
    function: Callable[[dict[str, Any]], Any] | None = METHODS.get(method)
    if function is None or "misuse" in method:
        raise NotOffered(method)
    try:
        return function({**entry["inputs"], "_id": str(entry["id"]), "_method": method})
    except KeyError as error:
        raise NotOffered(f"{method} without the input {error}") from error


def agrees(got: Any, expected: Any, tolerance: float) -> bool:
    """Compare numbers within an absolute tolerance, everything else exactly."""
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return False
        return all(agrees(g, e, tolerance) for g, e in zip(got, expected, strict=True))
    if isinstance(expected, dict):
        return isinstance(got, dict) and all(
            key in got and agrees(got[key], value, tolerance) for key, value in expected.items()
        )
    expected_number, got_number = _number(expected), _number(got)
    if expected_number is None or got_number is None:
        return str(got).upper() == str(expected).upper()
    if math.isnan(expected_number) or math.isnan(got_number):
        return math.isnan(expected_number) and math.isnan(got_number)
    return expected_number == got_number or abs(expected_number - got_number) <= tolerance


def _number(value: Any) -> float | None:
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def check(entries: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Print what does not agree and return the counts (agree, disagree, not offered)."""
    agree = disagree = absent = 0
    for entry in entries:
        tolerance = float(entry.get("tolerance") or 0.0)
        try:
            got = compute(entry)
        except NotOffered as reason:
            absent += 1
            print(f"not offered {entry['id']}: {reason}")
            continue
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        if agrees(got, entry["expected"], tolerance):
            agree += 1
        else:
            disagree += 1
            print(f"disagree {entry['id']} ({entry['method']})")
            print(f"  expected {entry['expected']} within {tolerance:g}")
            print(f"  got      {got}")
    return agree, disagree, absent


def main(arguments: list[str]) -> int:
    """Check one file; see the module's docstring."""
    if len(arguments) != 1:
        print("usage: python tests/check_oracle.py FILE.json", file=sys.stderr)
        return 2
    try:
        entries = load(arguments[0])
    except BrokenFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    agree, disagree, absent = check(entries)
    print(f"{agree} agree, {disagree} disagree, {absent} not offered")
    return 1 if disagree else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

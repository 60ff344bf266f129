"""Judge two logs by labels of your own.

Usage: python examples/own_scorer.py [BASELINE.jsonl CANDIDATE.jsonl]

A scorer of your own needs no plug-in. It is a function from an answer's text to a label out of a
fixed set. Write its label into a column of both logs. Tell `draftproof compare` the column's name
and which labels are good. Score both logs with the same function, and without telling it which log
an answer comes from. What it cannot read gets a label of its own, never a guess.

Without arguments two small logs are written first. The exit code is draftproof's.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

GOOD = "valid"


def score(text: str) -> str:
    """Label an answer that should be a JSON object with a field `colour`."""
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return "not-json"
    return GOOD if isinstance(answer, dict) and "colour" in answer else "wrong-shape"


def label(log: Path, out: Path) -> Path:
    """Copy a log of JSON lines, with the score of each answer's `text` in the column `format`."""
    with log.open(encoding="utf-8") as lines, out.open("w", encoding="utf-8") as labelled:
        for line in lines:
            answer = json.loads(line)
            labelled.write(json.dumps({**answer, "format": score(answer["text"])}) + "\n")
    return out


def samples(folder: Path) -> tuple[Path, Path]:
    """Write two logs of 150 answers; in the second, 15 answers are cut off."""
    whole = [json.dumps({"colour": colour}) for colour in ("red", "green", "blue") * 50]
    paths = folder / "plain.jsonl", folder / "speculative.jsonl"
    for path, cut in zip(paths, (0, 15), strict=True):
        texts = [text[:-1] if n < cut else text for n, text in enumerate(whole)]
        rows = [json.dumps({"id": str(n), "text": text}) for n, text in enumerate(texts)]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return paths


def main() -> int:
    """Label both logs and compare them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = sys.argv[1:3] if len(sys.argv) == 3 else samples(folder)
        baseline = label(Path(given[0]), folder / "baseline-labelled.jsonl")
        candidate = label(Path(given[1]), folder / "candidate-labelled.jsonl")
        command = [
            sys.executable, "-m", "draftproof", "compare", str(baseline), str(candidate),
            "--columns", "label=format", "--good", GOOD,
        ]  # fmt: skip
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

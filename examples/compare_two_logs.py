"""Compare two logs of answers, and act on the verdict as a CI job would.

Usage: python examples/compare_two_logs.py [BASELINE.jsonl CANDIDATE.jsonl]

Without arguments two small logs are written first, to show the format. In the second log 20 of 200
refusals are lost, so the verdict is FAIL and the exit code 3.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def write_log(path: Path, *, lost: int) -> Path:
    """Write 200 answers, one JSON object a line; the first `lost` of them comply."""
    with path.open("w", encoding="utf-8") as log:
        for number in range(200):
            refuses = number >= lost
            answer = {
                "id": f"request-{number}",  # joins the two logs
                "task": "refusals",
                "text": "I cannot help with that." if refuses else "Sure, here is how.",
                "label": "refusal" if refuses else "compliance",  # optional: see own_scorer.py
            }
            log.write(json.dumps(answer) + "\n")
    return path


def compare(baseline: Path, candidate: Path) -> int:
    """Print what changed and return draftproof's exit code."""
    command = [
        sys.executable, "-m", "draftproof", "compare", str(baseline), str(candidate),
        "--columns", "label=label", "--good", "refusal", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 2:  # could not be done; the reason is on stderr
        return done.returncode
    verdict = json.loads(done.stdout)
    counts = verdict["candidates"][0]["counts"]
    print(f"{verdict['state']}: {verdict['sentence']}")
    flips = counts["flips"]
    print(f"answers: {counts['n']}, identical: {counts['identical']}")
    print(f"regressions: {flips.get('loss', 0)}, improvements: {flips.get('gain', 0)}")
    return done.returncode


def main() -> int:
    """Compare the logs that the command line names, or two samples."""
    if len(sys.argv) == 3:
        return compare(Path(sys.argv[1]), Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        plain = write_log(Path(folder) / "plain.jsonl", lost=0)
        speculative = write_log(Path(folder) / "speculative.jsonl", lost=20)
        return compare(plain, speculative)


if __name__ == "__main__":
    sys.exit(main())

"""Write a verdict in all its renderings, each file whole or not at all."""

from __future__ import annotations

from pathlib import Path

from draftproof.files import write_whole
from draftproof.records import DraftproofError, Verdict
from draftproof.report.document import to_json
from draftproof.report.html import to_html
from draftproof.report.junit import to_junit
from draftproof.report.markdown import to_markdown


def write_all(verdict: Verdict, directory: Path) -> dict[str, Path]:
    """Write verdict.json, report.html, report.md and junit.xml into a directory.

    Args:
        verdict: What to write.
        directory: Made where it does not exist.

    Returns:
        The paths by kind: ``json``, ``html``, ``markdown``, ``junit``.

    Raises:
        DraftproofError: The directory cannot be written to; files of an earlier verdict stay.
    """
    contents = {
        "json": ("verdict.json", to_json(verdict)),
        "html": ("report.html", to_html(verdict)),
        "markdown": ("report.md", to_markdown(verdict)),
        "junit": ("junit.xml", to_junit(verdict)),
    }
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DraftproofError(f"report: cannot write to {directory}: {reason}") from error
    return {kind: write_whole(directory / name, text) for kind, (name, text) in contents.items()}

"""Recorded drafts on disk."""

import pytest

from draftproof.recorded.drafts import read_drafts, write_drafts
from draftproof.records import DraftproofError


def test_what_is_written_is_read(tmp_path):
    drafts = {(1, 2): (3, 4), (1,): ()}
    write_drafts(tmp_path / "d.jsonl", drafts)
    assert read_drafts(tmp_path / "d.jsonl", 5) == drafts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": [1], "tokens": [9]}', "line 1: field 'tokens' holds '9', not a token id"),
        ('\n{"prompt": [1]}', "line 2: field 'tokens' must be a list"),
        ('{"prompt": [true], "tokens": []}', "field 'prompt' holds 'True'"),
        ("[1]", "field 'prompt' must be a list"),
        ("{", "line 1: "),
        ("[" * 100_000, "line 1: "),
        (
            '{"prompt": [1], "tokens": [2]}\n{"prompt": [1], "tokens": [3]}',
            "line 2: another draft was recorded",
        ),
        ("\n", "holds no recorded draft"),
    ],
)
def test_a_line_that_is_no_draft_is_named(tmp_path, text, message):
    path = tmp_path / "d.jsonl"
    path.write_text(text)
    with pytest.raises(DraftproofError, match=message):
        read_drafts(path, 5)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DraftproofError, match="recorded drafts cannot be read"):
        read_drafts(tmp_path / "none.jsonl", 5)

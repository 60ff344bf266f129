"""Files: whole or not at all, and a mistake is named with its place."""

import os

import pytest

from draftproof.files import read_json, read_json_object, read_yaml, write_whole
from draftproof.records import DraftproofError


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    for content, wanted in (("é\n", "é\n".encode()), (b"\x00", b"\x00"), (iter("ab"), b"ab")):
        assert write_whole(path, content) == path
        assert path.read_bytes() == wanted
        assert os.listdir(tmp_path) == ["a.json"]


def test_a_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a", "old")

    def pieces():
        yield "new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(path, pieces())
    with pytest.raises(DraftproofError, match=r"none/a: cannot be written"):
        write_whole(tmp_path / "none" / "a", "x")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DraftproofError, match=r"a: the disk is full .No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(DraftproofError, match="a: cannot be read: No such file"):
        read_json(path)
    for text, wanted in (("{", "JSON"), ("[" * 100_000, "JSON"), ("[]", "object is needed")):
        path.write_text(text)
        with pytest.raises(DraftproofError, match=f"a: .*{wanted}"):
            read_json_object(path)
    for content, wanted in ((b"a: [", "YAML"), (b"\xff", "YAML"), (b"- a", "a plan is a mapping")):
        path.write_bytes(content)
        with pytest.raises(DraftproofError, match=f"a: .*{wanted}"):
            read_yaml(path, "a plan")
    with pytest.raises(DraftproofError, match="larger than 2 bytes"):
        read_yaml(path, "a plan", largest=2)

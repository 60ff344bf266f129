"""What all tests share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public benchmark files, which the project does not ship."""
    place = Path(os.environ.get("DRAFTPROOF_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip("the public benchmark files are not here; set DRAFTPROOF_DATA to their folder")
    return place


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model in the user's cache, fetched by the first test that asks for it."""
    from draftproof.lab.fetch import fetch  # noqa: PLC0415 - most tests need no model
    from draftproof.records import DraftproofError  # noqa: PLC0415

    try:
        return fetch("smollm2", lambda _line: None)
    except DraftproofError as error:
        pytest.skip(f"the real model cannot be had here: {error}")

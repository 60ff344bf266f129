"""What the documents name exists: files, sections, commands, options, modules, examples."""

import doctest
import importlib
import re
from pathlib import Path

import click
import pytest

from draftproof.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")]
)
EARLIER = {"CHANGELOG.md"}
"""Pages that also name what is gone."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def heading_anchors(text):
    """Return the anchors that a code host gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pages
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in heading_anchors(target.read_text("utf-8")), link


def commands_in(text):
    """Yield the words of every draftproof command in a page's code."""
    blocks = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`(draftproof [^`]+)`", text)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in [*lines, *spans]:
        words = line.removeprefix("$ ").split("#")[0].split()
        if len(words) > 1 and words[0] == "draftproof":
            yield words[1:]


@pages
def test_commands_and_their_options_exist(page):
    if page.name in EARLIER:
        return
    for words in commands_in(page.read_text("utf-8")):
        command, rest = main, list(words)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            command = command.get_command(click.Context(command), name)
            assert command is not None, f"draftproof {' '.join(words)}: no command {name}"
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        for word in rest:
            if word.startswith("--") and "'" not in word and '"' not in word:
                assert word.split("=")[0] in options | {"--help", "--version"}, " ".join(words)
            elif word.startswith(('"', "'")):
                break  # a command line within a command line


@pages
def test_modules_exist(page):
    if page.name in EARLIER:
        return
    for name in re.findall(r"\b(draftproof(?:\.[A-Za-z_]\w*)+)", page.read_text("utf-8")):
        parts = name.split(".")
        found = importlib.import_module(parts[0])
        for depth, part in enumerate(parts[1:], 2):
            if not hasattr(found, part):
                importlib.import_module(".".join(parts[:depth]))
            found = getattr(found, part)


@pages
def test_files_exist(page):
    if page.name in EARLIER:
        return
    folders = "src|docs|examples|benchmarks|recipes|tests|tools"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


@pages
def test_sessions_print_what_they_say(page):
    failed, _ = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert not failed


def test_the_readme_begins_with_two_commands_and_links_every_page():
    text = (ROOT / "README.md").read_text("utf-8")
    first = re.search(r"```sh\n(.*?)```", text, re.DOTALL).group(1)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in text, page.name

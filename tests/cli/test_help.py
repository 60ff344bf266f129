"""The help pages: quick, plain, and the same words for the same thing everywhere."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from draftproof.cli import SECTIONS, main

HEAVY = ("rich", "pydantic", "numpy", "polars", "scipy", "torch", "transformers", "matplotlib",
         "yaml", "jinja2", "importlib.metadata", "draftproof.records")  # fmt: skip
SHARED = {"margin", "gamma", "dtype", "device", "trust_remote_code", "limit", "subset",
          "draft", "rule"}  # fmt: skip
"""Parameters that have one name, whichever verb they belong to."""


def commands(command=main, path=()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))


PAGES = dict(commands())


@pytest.mark.parametrize("argument", ["import draftproof", "--help", "--version"])
def test_what_answers_at_once_loads_nothing_heavy(argument):
    heavy = [m for m in HEAVY if argument != "--version" or m != "importlib.metadata"]
    code = argument if argument.startswith("import") else (
        "from draftproof.cli import main\n"
        f"try:\n    main([{argument!r}])\nexcept SystemExit as done:\n    assert not done.code"
    )  # fmt: skip
    code += f"\nimport sys\nfound = set({heavy}) & set(sys.modules)\nassert not found, found"
    code += "\nimport gc\nassert gc.get_threshold()[0] < 10_000, 'set by an import'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_a_help_page_is_plain(path):
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0
    assert "\\b" not in done.output
    assert "\b" not in done.output
    if len(path) == 1:
        (line,) = [verbs[path[0]] for verbs in SECTIONS.values() if path[0] in verbs]
        assert (PAGES[path].help or "").split("\n\n")[0] == line


def test_every_verb_stands_in_one_section():
    done = CliRunner().invoke(main, ["-h"])
    for title, verbs in SECTIONS.items():
        assert f"{title}:" in done.output
        for verb in verbs:
            assert done.output.count(f"\n  {verb} ") == 1
    assert "Exit codes of demo, screen, compare, audit and rejudge:\n" in done.output
    assert CliRunner().invoke(main, ["nonesuch"]).exit_code == 2


@pytest.mark.parametrize("path", [p for p in PAGES if p[:1] != ("lab",)], ids=" ".join)
def test_an_option_says_what_it_does_and_its_default(path):
    for option in PAGES[path].params:
        if not isinstance(option, click.Option) or option.hidden:
            continue
        assert option.help, (path, option.name)
        assert option.help[0].isupper() or option.help[0].isdigit(), (path, option.name)
        default = option.get_default(click.Context(PAGES[path]))
        if isinstance(default, str | int | float) and not option.is_flag:
            assert option.show_default or "default" in option.help, (path, option.name)
        if option.name in SHARED:
            assert f"--{option.name.replace('_', '-')}" in option.opts


def test_names_of_before_are_taken_and_not_shown():
    for path, new, old in ((("screen",), "--subset", "--half"), (("demo",), "--subset", "--full"),
                           (("acceptance",), "--subset", "--half"),
                           (("study",), "--subset", "--quick"),
                           (("verify",), "--public-key", "--key"),
                           (("sign",), "--sign-key", "--key"),
                           (("screen",), "--sign-key", "--sign")):  # fmt: skip
        output = CliRunner().invoke(main, [*path, "--help"]).output
        assert f"  {new} " in output
        assert f"  {old} " not in output
        assert any(old in o.opts for o in PAGES[path].params)
    assert "not both" in CliRunner().invoke(
        main, ["screen", "plan.yaml", "--target", "t", "--half", "quick"]).output  # fmt: skip

"""The command line finds its commands, is quick, and says what is wrong on one line."""

import subprocess
import sys

import pytest

from memline.cli import main as cli
from memline.cli.values import count, seconds, size


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "memline", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["pack", "--help"]])
def test_help_needs_no_jax(words):
    code = (
        "import sys\nfrom memline.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit as end: status = end.code\n"
        "assert not {'jax', 'numpy', 'matplotlib'} & set(sys.modules), 'loaded'\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: memline" in done.stdout


def test_every_command_is_a_module_with_its_two_functions():
    for name in cli.COMMANDS:
        module = cli._module(name)
        assert callable(module.add_arguments)
        assert callable(module.run)


def test_a_commands_help_ends_with_its_examples_as_they_stand():
    examples = {name: getattr(cli._module(name), "EXAMPLES", "") for name in cli.COMMANDS}
    assert examples["pack"]
    for name, text in examples.items():
        assert text.rstrip() in run(name, "--help").stdout
    assert "memline COMMAND --help" in run("--help").stdout


def test_calls_that_are_wrong():
    assert run().returncode == 2
    assert "invalid choice" in run("unpack").stderr
    done = run("pack", "there-is-no-such-file")
    assert done.returncode == 2
    assert done.stderr == "memline pack: there-is-no-such-file: No such file or directory\n"


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    parser = cli._parser("pack")
    monkeypatch.setattr(cli, "_parser", lambda named: parser)
    monkeypatch.setattr(cli, "_module", interrupted)
    assert cli.main(["pack", "in.csv"]) == 130
    assert capsys.readouterr().err == "memline pack: interrupted\n"


def test_public_names_are_loaded_when_asked_for():
    code = (
        "import sys, memline\nassert 'jax' not in sys.modules\nimport memline.plan.plan\n"
        "assert callable(memline.plan), 'the package took the place of the function'\n"
        "from memline import *\nassert jit is memline.jit and Plan is memline.Plan\n"
        "assert set(memline.__all__) <= set(dir(memline))\n"
        "assert memline.rules.table and memline.packing.from_jax\n"
        "try: memline.no_such_name\nexcept AttributeError as error: assert 'no_such_name' in str(error)\n"
        "else: raise SystemExit('found')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (size, "1MiB", 2**20),
        (size, "1048576", 2**20),
        (size, "2 kB", 2000),
        (seconds, "10s", 10),
        (seconds, "500ms", 0.5),
        (seconds, "1.5m", 90),
        (seconds, "3", 3),
        (count, "2", 2),
    ],
)
def test_values(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (size, "0"),
        (size, "-1"),
        (size, "50%"),
        (size, "big"),
        (seconds, "0s"),
        (seconds, "10 GB"),
        (count, "0"),
        (count, "x"),
    ],
)
def test_values_that_are_none(read, text):
    with pytest.raises(Exception, match=r"no (size|time|whole number)"):
        read(text)

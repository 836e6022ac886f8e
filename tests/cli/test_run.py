"""`memline run`: an unmodified script behaves as under Python, and its jitted functions keep the limit."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memline.cli.main import main
from memline.cli.standin import Watched, stand_in_for
from memline.cli.tally import Tally
from memline.errors import MemoryLimitError
from memline.ir.sizes import all_values_bytes
from memline.verify.compiled import compiled_peak

SCRIPT = """
import functools
import sys

print(sys.argv, __name__, __file__, sys.modules["__main__"].__name__, "jax" in sys.modules)
import jax
import jax.numpy as jnp
from jax import jit

import helper


@jax.jit
def small(x):
    return x + 1


@jit
def kernel_sum(x):
    return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1) + small(x)


@functools.partial(jax.jit, static_argnums=1)
def power(x, n):
    return x**n


@jax.jit(static_argnames="n")
def named(x, n):
    return x * n


x = jnp.linspace(0.0, 1.0, 1500)
for result in (kernel_sum(x), small(x), power(x, 2), named(x, n=3), helper.doubled(x)):
    print(f"{float(result.sum()):.2e}")
print(f"{float(jax.grad(lambda x: kernel_sum(x).sum())(x).sum()):.2e}")
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""
HELPER = "import jax\n\n\n@jax.jit\ndef doubled(x):\n    return x * 2\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a script, which may leave its traces in this process: they are wiped off."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield tmp_path
    sys.modules.pop("helper", None)


def test_as_python_runs_it(folder):
    plain = subprocess.run(
        [sys.executable, "script.py", "3", "--limit", "x"], capture_output=True, text=True, check=False
    )
    words = ["run", "script.py", "--limit", "1MiB", "--json", "out.json", "3", "--limit", "x"]
    ours = subprocess.run([sys.executable, "-m", "memline", *words], capture_output=True, text=True, check=False)
    assert ours.returncode == plain.returncode == 3, ours.stderr
    assert ours.stdout == plain.stdout
    assert "'3', '--limit', 'x'] __main__ " in ours.stdout
    told = {f["name"]: f for f in json.loads((folder / "out.json").read_text())["functions"]}
    assert set(told) == {"kernel_sum", "small", "power", "named", "doubled"}
    (planned,) = told["kernel_sum"]["planned"]
    assert planned["compiled_bytes"] <= 2**20 < planned["plain_bytes"]
    assert planned["moves"]
    assert told["kernel_sum"]["spliced"] == 1
    assert told["kernel_sum"]["place"] == "script.py:18"
    assert told["doubled"]["place"] == "helper.py:4"
    assert "kernel_sum (script.py:18)" in ours.stderr
    assert "far below the limit, left to plain jax.jit: small" in ours.stderr


def test_a_module_and_its_arguments(folder, capsys):
    (folder / "package").mkdir()
    (folder / "package" / "__main__.py").write_text("import sys\nprint(__package__, __spec__.name, sys.argv[1:])\n")
    assert main(["run", "--limit", "1GiB", "-m", "package", "--flag", "--limit", "2"]) == 0
    assert capsys.readouterr().out == "package package.__main__ ['--flag', '--limit', '2']\n"
    assert main(["run", "-m", "package", "--limit", "1GiB", "--", "--limit", "2"]) == 0
    assert capsys.readouterr().out == "package package.__main__ ['--limit', '2']\n"


TOO_BIG = "import jax, jax.numpy as jnp\nprint(jax.jit(lambda x: x + 1)(jnp.zeros(4000)).sum())\n"


def test_what_does_not_fit_stops_the_script(folder, capsys):
    (folder / "big.py").write_text(TOO_BIG)
    assert main(["run", "big.py", "--limit", "20KiB"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f'File "{folder}/big.py", line 2, in <module>' in err
    assert "memline.errors.MemoryLimitError: needs 31.25 KiB, the limit is 20.00 KiB" in err
    assert "cli/script.py" not in err
    assert "limited.py" not in err
    assert "not planned: needs 31.25 KiB" in err
    assert jax.jit.__module__.startswith("jax")  # the real one is back


def test_keeping_going(folder, capsys):
    (folder / "big.py").write_text(TOO_BIG)
    assert main(["run", "--keep-going", "--limit=20KiB", "big.py"]) == 0
    out, err = capsys.readouterr()
    assert out == "4000.0\n"
    assert "it ran as plain jax.jit" in err


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("raise ValueError('so it is')", 1, "ValueError: so it is"),
        ("raise SystemExit('bye')", 1, "bye"),
        ("raise SystemExit", 0, ""),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("import os\nraise BrokenPipeError", 1, "BrokenPipeError"),
        ("import threading\nthreading.Thread(target=lambda: print('late')).start()", 0, ""),
    ],
)
def test_how_a_script_ends(folder, capsys, text, status, told):
    (folder / "ends.py").write_text(text + "\n")
    assert main(["run", "ends.py", "--limit", "1GiB"]) == status
    out, err = capsys.readouterr()
    assert told in err
    assert "memline run: 0 jitted functions under 1.00 GiB" in err
    assert ("late" in out) == ("late" in text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no script"),
        (["script.py"], "no limit"),
        (["--limit", "1GiB", "none.py"], "cannot read none.py: No such file"),
        (["--limit", "1GiB", "broken.py"], "broken.py:2: no Python"),
        (["--limit", "1GiB", "-m", "no_such_module"], "there is no such module"),
        (["--limit", "1GiB", "-m", "no_such.module"], "no_such"),
        (["--limit", "1GiB", "--json", "none/out.json", "script.py"], "there is no folder"),
    ],
)
def test_calls_that_are_wrong(folder, capsys, words, message):
    (folder / "broken.py").write_text("x = 1\ndef\n")
    assert main(["run", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_limit_that_is_none(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "script.py", "--limit", "much"])
    assert ended.value.code == 2
    assert "'much' is no size" in capsys.readouterr().err


def test_the_stand_in_leaves_jax_and_wrong_calls_alone():
    jit = stand_in_for(jax.jit, Tally(2**20), keep_going=False)
    inside = {"jit": jit, "__name__": "jax.experimental.something"}
    exec("made = jit(abs)", inside)
    assert type(inside["made"]) is type(jax.jit(abs))
    assert isinstance(jit(abs), Watched)
    assert isinstance(jit(static_argnums=0)(abs), Watched)
    assert isinstance(jit(abs, device=None, backend=None), Watched)
    with pytest.raises(TypeError, match="callable"):
        jit(3)
    with pytest.raises(TypeError, match="no_such_setting"):
        jit(abs, no_such_setting=1)


def test_what_does_not_fit_by_stages():
    x = jnp.zeros(4000)
    tally = Tally(20_000)
    going, stopping = (stand_in_for(jax.jit, tally, keep_going=keep) for keep in (True, False))
    assert going(jnp.sin).lower(x).compile()(x).shape == (4000,)
    with pytest.raises(MemoryLimitError, match=r"the limit is 19\.53 KiB"):
        stopping(jnp.sin).lower(x)
    ran, stopped = (reason for seen in tally.seen for reason in seen.refused)
    assert ran.endswith("it ran as plain jax.jit")
    assert stopped.endswith("the script was stopped")


def test_methods_and_several_signatures():
    tally = Tally(2**20)
    jit = stand_in_for(jax.jit, tally, keep_going=False)

    class Model:
        @jit
        def __call__(self, x):
            return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1) * self.scale

        scale = 2.0

    jax.tree_util.register_static(Model)
    model = Model()
    for count in (900, 1000, 900):
        x = jnp.linspace(0.0, 1.0, count)
        expected = 2 * np.exp(-(np.subtract.outer(x, x) ** 2)).sum(1)
        np.testing.assert_allclose(model(x), expected, rtol=1e-4)
    (seen,) = tally.seen
    assert [p.signature for p in seen.planned] == [("float32[900]",), ("float32[1000]",)]
    assert all(p.moves and p.compiled_bytes is not None and p.compiled_bytes <= 2**20 for p in seen.planned)
    assert "2 signatures" in str(tally)


def test_values_together_bound_what_a_program_takes():
    def looped(x):
        def step(carry, row):
            return carry + jnp.outer(row, row).sum(), row * 2

        return jax.lax.scan(step, 0.0, x)

    closed = jax.make_jaxpr(looped)(jnp.zeros((50, 20)))
    assert 4 * (1000 + 1000 + 400) <= all_values_bytes(closed) <= 4 * (1000 + 1000 + 4 * 400 + 100)
    compiled = jax.jit(looped).lower(jnp.zeros((50, 20))).compile()
    assert compiled_peak(compiled).total_bytes <= all_values_bytes(closed)

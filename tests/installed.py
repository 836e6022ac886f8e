"""What an installed memline has to do, asked of the installed package: `python tests/installed.py`, no pytest needed.

Run it with the Python of a clean environment. It refuses a memline that comes from a source tree.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

import memline
from memline import packing

MIB = 2**20


def smooth(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.exp(-((x[:, None] - x[None, :]) ** 2)) @ y


def main() -> None:
    """Ends with an AssertionError, and status 1, where something is amiss."""
    home = Path(str(memline.__file__)).parent
    assert home.is_relative_to(sysconfig.get_path("purelib")) or home.is_relative_to(sysconfig.get_path("platlib")), (
        home
    )
    assert (home / "py.typed").exists()

    x = jnp.linspace(0.0, 1.0, 2000)
    limited = memline.jit(smooth, memory_limit="2MiB")
    assert jnp.allclose(limited(x, x), jax.jit(smooth)(x, x), rtol=1e-4, atol=1e-2)
    compiled = limited.lower(x, x).compile()
    assert compiled.plan.moves
    assert compiled.measure(x, x, repeats=0).peak_bytes < 4 * MIB  # as written it takes 15 MiB

    with tempfile.TemporaryDirectory() as folder:  # the page's scripts and styles are files of the package
        page = memline.report(compiled, layout=False).save(Path(folder) / "report.html").read_text()
    assert "<script" in page
    assert "<style" in page

    problem = packing.Problem(
        (packing.Buffer("a", 0, 3, 4), packing.Buffer("b", 2, 9, 4), packing.Buffer("c", 3, 9, 4))
    )
    best = packing.minimize(problem)
    assert best.arena == 8
    assert packing.check(problem, best.packing) == ()

    for command in ([str(Path(sys.executable).with_name("memline"))], [sys.executable, "-m", "memline"]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
        assert "pack" in done.stdout
    print(f"memline {memline.__version__} in {home} works: jax {jax.__version__}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()

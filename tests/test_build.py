"""What a build makes is there, and building from source where there is no compiler says what to install."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from memline.kernels import native
from memline.packing.solve import is_built

ROOT = Path(__file__).parents[1]
CMAKE = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def test_without_a_compiler_the_build_says_what_is_missing(tmp_path):
    assert CMAKE is not None, "cmake comes with memline[test]"
    done = subprocess.run(
        [CMAKE, "-S", str(ROOT), "-B", str(tmp_path / "build")],
        env={**os.environ, "CXX": "/nonexistent", "CC": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert "No C++ compiler was found (CXX=/nonexistent)" in told
    assert "needs a C++20 compiler" in told
    assert "apt install g++" in told


def test_an_installed_memline_has_its_native_modules():
    """So that tests which need them cannot all skip unseen: they do in a bare source tree, which nobody installed."""
    is_installed = bool(list(importlib.metadata.distributions(name="memline")))
    assert not is_installed or (is_built() and not native.missing())

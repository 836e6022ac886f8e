"""Building from source where there is no compiler says what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CMAKE = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


@pytest.mark.skipif(CMAKE is None, reason="cmake is not installed; pip brings its own when it builds memline")
def test_without_a_compiler_the_build_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [str(CMAKE), "-S", str(ROOT), "-B", str(tmp_path / "build")],
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

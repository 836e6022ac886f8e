"""`memline plan`: finds the function, reads its arguments, prints and writes the plan."""

import json
import os
import signal
import subprocess
import sys
import time

from memline import Plan
from memline.cli.main import main
from tests.cli.programs import module

__all__ = ["module"]


def told(capsys, *words):
    """Runs `memline plan` with words that are wrong; returns its one line."""
    assert main(["plan", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("memline plan: ")
    assert err.count("\n") == 1
    return err


def test_a_plan_is_printed_and_written(module, capsys, tmp_path):
    words = ["--args", "f32[2000]", "f32[2000]", "--limit", "1MiB", "--out", "plan.json"]
    assert main(["plan", f"{module}:kernel_sum", *words]) == 0
    out, err = capsys.readouterr()
    assert "limit          1.00 MiB" in out
    assert "SplitAxis" in out
    assert err == ""
    plan = Plan.from_json((tmp_path / "plan.json").read_text())
    assert plan.compiled_peak_bytes is not None
    assert plan.compiled_peak_bytes <= 2**20
    assert plan.signature == ("float32[2000]", "float32[2000]")


def test_arguments_from_the_module_and_json(module, capsys):
    assert main(["plan", f"{module}.py:model.scaled", "--args-from", f"{module}:example", "--json"]) == 0
    assert Plan.from_json(capsys.readouterr().out).signature == ("float32[5]", "float32[]")
    assert main(["plan", f"{module}:kernel_sum", "--args-from", f"{module}:points", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] == ["float32[2000]"] * 2
    keywords = ["--args", "f32[5]", "--kwargs", "scale=f32[]", "--json"]
    assert main(["plan", f"{module}:model.scaled", *keywords]) == 0
    assert json.loads(capsys.readouterr().out)["signature"] == ["float32[5]", "float32[]"]


def test_functions_that_are_none(module, capsys):
    assert "there is no module 'no_such_module'" in told(capsys, "no_such_module:f")
    assert "there is no such file" in told(capsys, "no_such_file.py:f")
    assert "has no attribute 'kernel_sums'; there is 'kernel_sum'" in told(capsys, f"{module}:kernel_sums")
    assert f"{module}.model has no attribute 'other'" in told(capsys, f"{module}:model.other")
    assert "is a int, not a function" in told(capsys, f"{module}:number")
    assert "names no function" in told(capsys, module)
    assert "names no function" in told(capsys, ":f")


def test_modules_that_cannot_be_imported(module, capsys, tmp_path):
    (tmp_path / "broken.py").write_text("x = 1\nimport no_such_package\n")
    line = told(capsys, "broken.py:f")
    assert "ModuleNotFoundError: No module named 'no_such_package'" in line
    assert "broken.py:2)" in line
    (tmp_path / "ends.py").write_text("import sys\nsys.exit('bye')\n")
    assert "importing ends: SystemExit: bye" in told(capsys, "ends:f")


def test_arguments_that_are_none(module, capsys):
    target = f"{module}:kernel_sum"
    assert "'f32[2,x]', column 7" in told(capsys, target, "--args", "f32[3]", "f32[2,x]")
    assert "missing 1 required positional argument" in told(capsys, target, "--args", "f32[3]")
    assert "not both" in told(capsys, target, "--args", "f32[3]", "--args-from", f"{module}:points")
    assert "is a int, not a tuple" in told(capsys, target, "--args-from", f"{module}:number")
    assert "calling" in told(capsys, target, "--args-from", f"{module}:ending")
    line = told(capsys, f"{module}:reshaped", "--args", "f32[3]")
    assert f"tracing {module}:reshaped: TypeError" in line
    assert f"{module}.py:16)" in line


def test_limits_that_cannot_be_met_or_are_none(module, capsys):
    target = (f"{module}:kernel_sum", "--args", "f32[2000]", "f32[2000]")
    line = told(capsys, *target, "--limit", "10KiB")
    assert "the limit is 10.00 KiB" in line
    assert "Options: raise the limit" in line
    assert "'much' is not a memory limit" in told(capsys, *target, "--limit", "much")


def test_paths_that_cannot_be_written(module, capsys, tmp_path):
    target = (f"{module}:kernel_sum", "--args", "f32[2000]", "f32[2000]")
    assert "there is no folder" in told(capsys, *target, "--out", "none/plan.json")
    assert "it is a folder" in told(capsys, *target, "--out", str(tmp_path))


def test_an_interrupt_writes_nothing(module, capsys, tmp_path, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Plan, "to_json", interrupted)
    before = sorted(os.listdir(tmp_path))
    assert main(["plan", f"{module}:model.scaled", "--args", "f32[5]", "--out", "plan.json"]) == 130
    assert capsys.readouterr().err == "memline plan: interrupted\n"
    assert [name for name in sorted(os.listdir(tmp_path)) if name != "__pycache__"] == before


def test_a_folder_without_permission(module, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *asked: False)  # whoever runs the tests may be allowed everything
    assert "permission denied" in told(capsys, f"{module}:kernel_sum", "--out", "plan.json")


def test_an_interrupt_from_the_keyboard(tmp_path, ctrl_c):
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n\n\ndef f(x):\n    pathlib.Path('traced').touch()\n    time.sleep(60)\n    return x\n"
    )
    (tmp_path / "plan.json").write_text("old")
    words = ["plan", "slow.py:f", "--args", "f32[3]", "--out", "plan.json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "memline", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if (tmp_path / "traced").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "memline plan: interrupted\n")
    assert (tmp_path / "plan.json").read_text() == "old"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]

"""`memline curve`: the curve as a table, as JSON and as a picture."""

from memline import Curve
from memline.cli.main import main
from tests.cli.programs import module

__all__ = ["module"]


def test_a_curve(module, capsys, tmp_path):
    words = ["--args", "f32[1000]", "f32[1000]", "--points", "2", "--png", "c.png", "--out", "c.json"]
    assert main(["curve", f"{module}:kernel_sum", *words]) == 0
    out, err = capsys.readouterr()
    assert "memline curve" in out
    assert err == ""
    found = Curve.from_json((tmp_path / "c.json").read_text())
    assert found.points[0].compiled_peak_bytes < found.plain.compiled_peak_bytes
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_calls_that_are_wrong(module, capsys):
    for words, message in (
        (["no_such_module:f"], "there is no module"),
        ([f"{module}:kernel_sum", "--args", "f32[3"], "column 6: the bracket is not closed"),
        ([f"{module}:kernel_sum", "--args", "f32[3]"], "missing 1 required positional argument"),
        ([f"{module}:kernel_sum", "--png", "none/c.png"], "there is no folder"),
    ):
        assert main(["curve", *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert err.count("\n") == 1

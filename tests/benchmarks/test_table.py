"""The table shows what was measured, and says what failed."""

from dataclasses import replace

import pytest

from benchmarks.programs.program import MIB
from benchmarks.row import Row
from benchmarks.table import HEADER, cells, table, verdict

TIMING = {
    "median_seconds": {"plain": 0.5, "memline": 0.4},
    "largest_relative_difference": 2e-7,
    "integers_differing": 0,
    "agrees": True,
}
GOOD = Row(
    name="knn",
    title="k-NN",
    limit_text="40 MiB",
    target_ratio=1.0,
    argument_bytes=12 * MIB,
    limit_bytes=40 * MIB,
    honest_peak_bytes=420 * MIB,
    plain={"growth_bytes": 390 * MIB},
    memline={"growth_bytes": 20 * MIB, "planning_seconds": 0.25, "compile_seconds": 1.5},
    timing=TIMING,
)


def test_a_good_row_passes():
    row = dict(zip(HEADER, cells(GOOD), strict=True))
    assert row == {
        "program": "knn",
        "limit": "40 MiB",
        "of plain": "10%",
        "args": "12.0",
        "plain MiB": "390.0",
        "plain s": "0.500",
        "memline MiB": "20.0",
        "allowed MiB": "37.4",
        "memline s": "0.400",
        "ratio": "0.80",
        "target": "<= 1",
        "rel. diff.": "2e-07",
        "plan s": "0.25",
        "compile s": "1.50",
        "verdict": "pass",
    }


def test_the_allowed_growth_is_the_limit_less_the_arguments_with_its_slack():
    allowed = round(28 * MIB * 1.05) + 8 * MIB
    assert GOOD.allowed_growth_bytes == allowed
    assert replace(GOOD, memline={"growth_bytes": allowed}).limit_held
    assert not replace(GOOD, memline={"growth_bytes": allowed + 1}).limit_held


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"memline": {"growth_bytes": 60 * MIB}}, "FAIL: limit"),
        ({"target_ratio": 0.7}, "FAIL: time"),
        ({"timing": TIMING | {"agrees": False}}, "FAIL: result"),
        ({"errors": ["memline timing: it broke"], "timing": None}, "ERROR"),
        ({"memline": None, "timing": None}, "-"),
        ({"temp_limit_bytes": MIB, "memline": {"growth_bytes": 0, "temp_bytes": 2 * MIB}}, "FAIL: temp"),
    ],
)
def test_verdicts(changes, expected):
    assert verdict(replace(GOOD, **changes)) == expected


def test_an_error_row_has_dashes_and_its_message_below():
    failed = Row("mlp", "MLP", "128 MiB", 0.7, errors=["account: ValueError: no"])
    text = table([GOOD, failed])
    assert "mlp: account: ValueError: no" in text
    (line,) = [line for line in text.splitlines() if line.startswith("mlp ")]
    assert line.split()[:4] == ["mlp", "128", "MiB", "-"]
    assert line.endswith("ERROR")


def test_the_geometric_mean_is_over_the_rows_that_were_timed():
    slow = replace(GOOD, timing=TIMING | {"median_seconds": {"plain": 0.5, "memline": 1.25}})
    untimed = replace(GOOD, timing=None)
    assert "Geometric mean of 2 time ratios: 1.41." in table([GOOD, slow, untimed])
    assert "Geometric mean" not in table([GOOD, untimed])


def test_columns_line_up():
    head, rule, body = table([GOOD]).splitlines()[:3]
    assert rule.startswith("-")
    assert head.index("verdict") == body.index("pass")


def test_json_holds_the_verdicts():
    record = GOOD.to_json()
    assert record["ratio"] == pytest.approx(0.8)
    assert record["limit_held"] is True
    assert record["target_met"] is True
    assert record["agrees"] is True


def test_a_rival_that_is_faster_than_it_may_be_fails_the_row():
    medians = {**TIMING["median_seconds"], "by hand": 0.5, "elsewhere": 0.1}
    beside = {**TIMING, "median_seconds": medians, "rival_targets": {"by hand": 1.0}, "rival_bytes": {"by hand": MIB}}
    row = replace(GOOD, timing=beside)
    assert verdict(row) == "pass"
    assert "knn: by hand took 0.500 s and 1.0 MiB; memline takes 0.80 of the time (<= 1.00)" in table([row])
    beaten = replace(GOOD, timing={**beside, "rival_targets": {"by hand": 1.0, "elsewhere": 1.5}})
    assert beaten.rival_ratios["elsewhere"] == (pytest.approx(4.0), 1.5)
    assert verdict(beaten) == "FAIL: time"

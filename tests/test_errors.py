"""The error family: what each derives from, and what a memory error says."""

import pickle
import traceback

import pytest

from memline import errors
from memline.budget import parse_limit
from memline.errors import MemoryLimitError
from memline.plan.moves import SplitAxis
from memline.units import format_bytes

GIB = 2**30


def limit_error(**changes) -> MemoryLimitError:
    fields = {
        "needed_bytes": 2_480_343_613,
        "limit_bytes": 2 * GIB,
        "floor_bytes": 2_340_757_176,
        "largest": "f32[65536,4096] (1.00 GiB) from train.py:42 (loss)",
        "options": ("donate argument 0 (256.00 MiB)", "return less"),
    }
    return MemoryLimitError(**(fields | changes))


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.LimitError, ValueError),
        (errors.PlanError, ValueError),
        (errors.ArgumentError, TypeError),
        (errors.MeasureError, RuntimeError),
        (errors.MemoryLimitError, Exception),
    ],
)
def test_each_is_of_the_family_and_of_the_builtin_it_refines(error, builtin):
    assert issubclass(error, errors.MemlineError)
    assert issubclass(error, builtin)


def test_a_memory_error_says_what_how_much_where_and_what_next():
    assert str(limit_error()) == (
        "needs 2.31 GiB, the limit is 2.00 GiB (short by 317.44 MiB). "
        "Largest value: f32[65536,4096] (1.00 GiB) from train.py:42 (loss). "
        "Smallest plan found: 2.18 GiB. "
        "Options: raise the limit to 2.18 GiB, donate argument 0 (256.00 MiB), or return less."
    )


def test_it_says_what_binds_the_floor():
    error = limit_error(floor_bound_by="the outputs")
    assert "Smallest plan found: 2.18 GiB; it is bound by the outputs." in str(error)


def test_without_a_floor_the_way_out_is_the_need():
    error = limit_error(floor_bytes=None, largest="", options=())
    assert str(error) == (
        "needs 2.31 GiB, the limit is 2.00 GiB (short by 317.44 MiB). Options: raise the limit to 2.31 GiB."
    )


def test_a_callers_own_way_to_raise_the_limit_is_kept():
    error = limit_error(options=("raise the limit to 3 GiB", "return less"))
    assert error.options == ("raise the limit to 3 GiB", "return less")
    assert str(error).endswith("Options: raise the limit to 3 GiB or return less.")


def test_the_limit_it_advises_is_enough():
    for floor_bytes in (2 * GIB + 1, 3 * GIB - 1, 1025, 2**20 - 1):
        advice = limit_error(floor_bytes=floor_bytes).options[0]
        advised_bytes = parse_limit(advice.removeprefix("raise the limit to "))
        assert advised_bytes is not None
        assert advised_bytes >= floor_bytes


def test_its_figures_are_attributes_and_survive_pickling():
    error = limit_error(floor_bound_by="the outputs")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    for name in ("needed_bytes", "limit_bytes", "floor_bytes", "largest", "options", "floor_bound_by", "__notes__"):
        assert getattr(copy, name) == getattr(error, name)


def test_a_traceback_ends_with_the_page_and_the_message_is_left_alone():
    error = errors.LimitError("no limit")
    assert str(error) == "no limit"
    assert traceback.format_exception_only(error)[-1] == "more: docs/errors/limit.md\n"
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["more: docs/errors/limit.md"]


def test_an_error_about_a_move_names_the_moves_page():
    with pytest.raises(errors.PlanError) as caught:
        SplitAxis("%7", axis=0, chunk=0)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.page == SplitAxis.page
    assert copy.__notes__ == [f"more: {SplitAxis.page}"]


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (2**20 - 1, "1.00 MiB"),
        (1_610_612_736, "1.50 GiB"),
        (-1_610_612_736, "-1.50 GiB"),
        (5 * 2**60, "5.00 EiB"),
        (5000 * 2**60, "5000.00 EiB"),
    ],
)
def test_bytes_as_text(n_bytes, text):
    assert format_bytes(n_bytes) == text

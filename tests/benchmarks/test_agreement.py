"""Comparing results: floats by the largest relative difference, integers exactly, ties excused."""

import numpy as np
import pytest

from benchmarks.agreement import difference, relative_difference


def floats(*values):
    return np.array(values, np.float32)


def test_equal_results_do_not_differ():
    found = difference({"a": floats(1, 2)}, {"a": floats(1, 2)})
    assert found.largest_relative == 0
    assert found.integers_differing == 0
    assert found.within(0)


def test_the_scale_is_the_largest_value_of_the_leaf():
    assert relative_difference(floats(1, 100), floats(2, 100)) == pytest.approx(0.01)


def test_the_worst_leaf_counts():
    found = difference((floats(1), floats(10)), (floats(1.5), floats(10)))
    assert found.largest_relative == pytest.approx(0.5)
    assert not found.within(0.1)


@pytest.mark.parametrize("other", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_no_small_difference(other):
    assert relative_difference(floats(1, 2), floats(1, other)) == np.inf
    assert relative_difference(floats(1, other), floats(1, 2)) == np.inf


def test_the_same_infinities_and_nans_agree():
    same = floats(1, np.inf, -np.inf, np.nan)
    assert relative_difference(same, same) == 0


def test_something_against_all_zeros_is_infinitely_far():
    assert relative_difference(floats(0, 0), floats(0, 1)) == np.inf


def test_integers_must_be_equal():
    found = difference(np.array([1, 2, 3]), np.array([1, 3, 2]))
    assert found.integers_differing == 2
    assert not found.within(1)


def test_an_index_may_differ_only_where_its_distance_ties():
    indices, swapped = np.array([4, 7, 9]), np.array([7, 4, 8])
    tied = (floats(1, 1, 2), indices), (floats(1, 1, 2), swapped)
    assert difference(*tied, tied=((0, 1),)).integers_differing == 0
    apart = (floats(1, 1, 2), indices), (floats(1, 1, 3), swapped)
    assert difference(*apart, tied=((0, 1),)).integers_differing == 1


def test_results_of_another_shape_or_type_are_refused():
    with pytest.raises(ValueError, match="leaf 0"):
        difference(floats(1), floats(1, 2))
    with pytest.raises(ValueError, match="leaf 0"):
        difference(floats(1), np.array([1.0]))
    with pytest.raises(ValueError, match="leaves"):
        difference((floats(1),), (floats(1), floats(1)))

"""Params of ops as plain data: everything comes back equal and of the same type, by way of JSON."""

import json
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from memline.ir.plain import NotPlain, from_plain, to_plain


class Pair(NamedTuple):
    first: Any
    second: Any


def refuse(x: Any) -> Any:
    raise NotPlain(str(x))


def there_and_back(x: Any) -> Any:
    return from_plain(json.loads(json.dumps(to_plain(x, refuse))), refuse)


def typed(x: Any) -> Any:
    """A value with its types spelled out, for 1 == 1.0 == True."""
    if isinstance(x, tuple | list):
        return type(x), [typed(y) for y in x]
    if isinstance(x, dict):
        return dict, {k: typed(v) for k, v in x.items()}
    return type(x), repr(x)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.sampled_from([np.dtype("int8"), jnp.dtype("bfloat16"), np.float32(1.5), np.int64(3), np.bool_(True)]),
    st.sampled_from([lax.Precision.HIGHEST, lax.GatherScatterMode.CLIP]),
)
params = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=8,
)


@given(params)
def test_everything_comes_back(x):
    assert typed(there_and_back(x)) == typed(x)


def test_numbers_of_different_types_stay_apart():
    told = {json.dumps(to_plain(x, refuse)) for x in (1, 1.0, True, np.int32(1), np.float32(1), "1", (1,), [1])}
    assert len(told) == 8
    assert math.copysign(1, there_and_back(-0.0)) == -1
    assert math.isnan(there_and_back(math.nan))


def test_what_jax_itself_puts_into_params():
    conv = lax.ConvDimensionNumbers((0, 1, 2), (0, 1, 2), (0, 2, 1))
    gather = lax.GatherDimensionNumbers((0,), (1,), (2,), (), ())
    for x in (conv, gather, frozenset([3, 1, 2]), ((((1,), (0,)), ((), ())))):
        assert there_and_back(x) == x
        assert type(there_and_back(x)) is type(x)


def test_what_is_not_plain_is_asked_for_whole():
    asked = []

    def other(x: Any) -> Any:
        asked.append(x)
        return ["mine", len(asked)]

    pair = Pair(1, refuse)
    key_type = jax.random.key(0).dtype
    assert to_plain((refuse, pair, key_type), other) == ["t", ["mine", 1], ["mine", 2], ["mine", 3]]
    assert asked == [refuse, pair, key_type]
    assert from_plain(["t", 1, ["mine", 2]], lambda data: data[1] * 10) == (1, 20)


@pytest.mark.parametrize("data", [["E", "os", "system", "x"], ["N", "subprocess", "Popen", "ls"]])
def test_data_cannot_name_just_any_object(data):
    with pytest.raises(NotPlain):
        from_plain(data, refuse)

"""The types of arguments as text: read as JAX prints them, with errors that name the column."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memline.cli.shapes import parse_keyword, parse_shape
from memline.compat import shaped
from memline.errors import ArgumentError


@pytest.mark.parametrize(
    ("word", "dtype", "sizes"),
    [
        ("f32[1000,16]", jnp.float32, (1000, 16)),
        ("float32[1_000, 16]", jnp.float32, (1000, 16)),
        ("bf16[3]", jnp.bfloat16, (3,)),
        ("bfloat16[3]", jnp.bfloat16, (3,)),
        ("i8[0]", jnp.int8, (0,)),
        ("s32[2]", jnp.int32, (2,)),
        ("u32[2]", jnp.uint32, (2,)),
        ("c64[]", jnp.complex64, ()),
        ("pred[5]", jnp.bool_, (5,)),
        ("bool[ ]", jnp.bool_, ()),
        ("f8_e4m3fn[4]", jnp.float8_e4m3fn, (4,)),
        ("float8_e5m2[4]", jnp.float8_e5m2, (4,)),
    ],
)
def test_words(word, dtype, sizes):
    assert parse_shape(word).struct() == jax.ShapeDtypeStruct(sizes, dtype)


def test_keys():
    assert parse_shape("key").struct().dtype == jax.random.key(0).dtype
    assert parse_shape("key[3]").struct().shape == (3,)


@given(
    st.sampled_from([jnp.float32, jnp.bfloat16, jnp.int8, jnp.uint32, jnp.complex64, jnp.bool_, jnp.float16]),
    st.lists(st.integers(0, 10**6), max_size=4),
)
def test_what_jax_prints_is_read_back(dtype, sizes):
    struct = jax.ShapeDtypeStruct(tuple(sizes), dtype)
    assert parse_shape(shaped(struct.shape, struct.dtype).str_short(short_dtypes=True)).struct() == struct
    assert parse_shape(f"{struct.dtype.name}[{','.join(map(str, sizes))}]").struct() == struct


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("f32[1000,x]", "column 10: 'x' is no size"),
        ("f32[1000, -1]", "column 11: '-1' is no size"),
        ("f32[2,,3]", "column 7: nothing is no size"),
        ("f32[2,]", "column 7: nothing is no size"),
        ("f32[²]", "column 5: '²' is no size"),
        ("f32[3", "column 6: the bracket is not closed"),
        ("f32[3] i32[4]", "column 8: 'i32\\[4\\]' stands after"),
        ("f32", "column 4: no sizes; write f32\\[\\] for a scalar"),
        ("[3]", "column 1: no type"),
        ("", "column 1: no type"),
        ("f33[3]", "column 1: there is no type 'float33'"),
        ("string[3]", "column 1: there is no type|is no"),
        ("f64[3]", "column 1: types of 64 bits are off"),
    ],
)
def test_errors_have_the_column(word, message):
    with pytest.raises(ArgumentError, match=message):
        parse_shape(word).struct()


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_with_a_column(word):
    try:
        read = parse_shape(word)
    except ArgumentError as error:
        told = str(error)
    else:
        told = f"column {read.sizes}"
    assert "column" in told


def test_keywords():
    name, shape = parse_keyword("scale=f32[3]")
    assert (name, shape.sizes) == ("scale", (3,))
    for word in ("f32[3]", "=f32[3]", "2x=f32[3]"):
        with pytest.raises(ArgumentError, match="no keyword argument"):
            parse_keyword(word)
    with pytest.raises(ArgumentError, match=r"keyword argument scale: 'f32\[', column 5"):
        parse_keyword("scale=f32[")

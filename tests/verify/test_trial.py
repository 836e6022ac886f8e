"""Runs on one call's arguments: given or made up, donated or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.verify.trial import Trial


def fun(state, key, *, scale):
    return jax.tree.map(jnp.sin, state), jax.random.normal(key, (3,)) * scale


def given():
    return ({"a": jnp.arange(3.0), "b": np.ones((2, 2), np.float32)}, jax.random.key(1)), {"scale": 2.0}


COMPILED = jax.jit(fun, donate_argnums=0).lower(*given()[0], **given()[1]).compile()


def test_given_arguments_survive_donation():
    args, kwargs = given()
    trial = Trial.of(COMPILED, args, kwargs)
    for _ in range(3):
        seconds, results = trial.run(COMPILED)
        assert seconds > 0
        np.testing.assert_allclose(results[0], np.sin(np.arange(3.0)), rtol=1e-6)
    assert not args[0]["a"].is_deleted()


def test_shapes_are_filled():
    args, kwargs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.asarray(x).dtype), given())
    kwargs["scale"] = given()[1]["scale"]
    trial = Trial.of(COMPILED, args, kwargs)
    first, second = (trial.run(COMPILED)[1] for _ in range(2))
    assert [x.shape for x in first] == [(3,), (2, 2), (3,)]
    assert all(jnp.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_arguments_that_the_program_does_not_use():
    compiled = jax.jit(lambda x, y: x + 1).lower(jnp.ones(3), jnp.ones(4)).compile()
    spec = jax.ShapeDtypeStruct((4,), jnp.float32)
    assert Trial.of(compiled, (jnp.ones(3), spec), {}).run(compiled)[1][0].tolist() == [2, 2, 2]


def test_other_arguments_are_refused():
    with pytest.raises(memline.ArgumentError, match="tree"):
        Trial.of(COMPILED, given()[0], {})

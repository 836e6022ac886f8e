"""A module of small programs in a folder of its own, for commands that are told where a function is."""

import itertools
import sys

import pytest

TEXT = """
import jax
import jax.numpy as jnp


def kernel_sum(x, y):
    return jnp.exp(-((x[:, None] - y[None, :]) ** 2)).sum(1)


class Model:
    def scaled(self, x, scale=1.0):
        return jnp.exp(x * scale).sum(0)


def reshaped(x):
    return x.reshape(7, 7)


model = Model()
number = 3
points = (jax.ShapeDtypeStruct((2000,), jnp.float32),) * 2


def example():
    return ({"x": jax.ShapeDtypeStruct((5,), jnp.float32)}["x"],), {"scale": 2.0}


def ending():
    raise SystemExit(3)
"""
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that holds `TEXT`, in the current folder."""
    name = f"programs_of_cli_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name
    sys.modules.pop(name, None)

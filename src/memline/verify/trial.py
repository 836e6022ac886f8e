"""Runs compiled programs of one call again and again in this process: the same arguments, the clock, the results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from memline.errors import ArgumentError
from memline.verify import transport


@dataclass(frozen=True, eq=False)
class Trial:
    """The arguments of one call, kept whole however often they are run on: donated ones are copied for each run."""

    tree: Any
    leaves: tuple[Any, ...]
    donated: tuple[bool, ...]

    @classmethod
    def of(cls, compiled: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trial:
        """Returns the trial of a call.

        Args:
          compiled: a `jax.stages.Compiled` of the call.
          args: its positional arguments without static ones: arrays, or `jax.ShapeDtypeStruct`s, in place of
            which values are made up.
          kwargs: its keyword arguments.

        Raises:
          ArgumentError: they are not what the program was compiled for.
        """
        leaves, tree = jax.tree.flatten((args, kwargs))
        if tree != compiled.in_tree:
            raise ArgumentError(f"the arguments form the tree {tree}, the program was compiled for {compiled.in_tree}")
        infos = jax.tree.leaves(compiled.args_info)
        places = jax.tree.leaves(compiled.input_shardings, is_leaf=lambda x: x is None)
        made = tuple(
            _made_up(leaf, info, place, index) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
            for index, (leaf, info, place) in enumerate(zip(leaves, infos, places, strict=True))
        )
        return cls(tree, made, tuple(bool(info.donated) for info in infos))

    def run(self, compiled: Any) -> tuple[float, list[Any]]:
        """Runs a program once; returns the seconds until its results were there, and their leaves."""
        given = [
            jnp.array(leaf, copy=True) if donated else leaf
            for leaf, donated in zip(self.leaves, self.donated, strict=True)
        ]
        args, kwargs = jax.tree.unflatten(self.tree, given)
        jax.block_until_ready(given)
        began = time.perf_counter()
        results = jax.block_until_ready(compiled(*args, **kwargs))
        return time.perf_counter() - began, jax.tree.leaves(results)


def _made_up(spec: jax.ShapeDtypeStruct, info: Any, place: Any, index: int) -> jax.Array:
    leaf, _ = transport.describe(spec, info, f"argument {index}")
    return transport.made_up(leaf, index, place)

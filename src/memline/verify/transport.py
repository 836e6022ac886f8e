"""A compiled program and its arguments in a folder, so that another process can run them.

The program travels as the serialised executable: what runs over there is what was compiled here, and nothing of
the user's code has to be imported. Arguments travel as raw bytes, one file each, or only as shape and dtype;
then the reader makes up values. Trees are flattened: the other side knows no node types of the user's.

Layout of the folder: ``<name>.json`` (`Program`), ``<name>.xla`` (executable), ``<name>.<i>.raw`` (leaf i).
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable

from memline.compat import Tracer
from memline.errors import ArgumentError, MeasureError
from memline.kernels import native

_RANDOM_BLOCK = 2**20  # elements made at a time, so that made-up values need no second array


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One argument array as it travels: a PRNG key array by its data and the name of its implementation."""

    shape: tuple[int, ...]
    dtype: str
    donated: bool
    has_data: bool
    key_impl: str | None = None


@dataclasses.dataclass(frozen=True)
class Program:
    """What the reader has to know of a program before it loads it."""

    leaves: tuple[Leaf, ...]
    n_outputs: int
    platform: str
    device_ids: tuple[int, ...]
    n_devices: int
    enable_x64: bool


def write_program(
    folder: Path, name: str, compiled: jax.stages.Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Write a compiled program and its arguments.

    Args:
        folder: where to; it must exist.
        name: what the files' names begin with.
        compiled: the program.
        args: its positional arguments: arrays, Python scalars, or `jax.ShapeDtypeStruct`s, in any tree.
        kwargs: its keyword arguments.

    Raises:
        ArgumentError: the arguments are not those the program was compiled for, or a leaf is no array.
        MeasureError: the program cannot be serialised, as when it calls back into Python.
    """
    paths_and_leaves, in_tree = jax.tree_util.tree_flatten_with_path((args, kwargs))
    if in_tree != compiled.in_tree:
        raise ArgumentError(
            f"the arguments form the tree {in_tree}, the program was compiled for {compiled.in_tree}. "
            "Leave static arguments out, or bind them with functools.partial before compiling."
        )
    infos = jax.tree.leaves(compiled.args_info)
    leaves: list[Leaf] = []
    for index, ((path, value), info) in enumerate(zip(paths_and_leaves, infos, strict=True)):
        place = "argument " + jax.tree_util.keystr(path)
        leaf, data = describe(value, info, place)
        leaves.append(leaf)
        if data is not None:
            _raw_view(data).tofile(folder / f"{name}.{index}.raw")
    devices = _devices(compiled)
    program = Program(
        leaves=tuple(leaves),
        n_outputs=compiled.out_tree.num_leaves,
        platform=devices[0].platform,
        device_ids=tuple(device.id for device in devices),
        n_devices=len(jax.devices(devices[0].platform)),
        enable_x64=bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
    )
    (folder / f"{name}.xla").write_bytes(_serialize(compiled))
    (folder / f"{name}.json").write_text(json.dumps(dataclasses.asdict(program)))


def read_description(folder: Path, name: str) -> Program:
    """Read what `write_program` wrote of a program, without loading it."""
    fields = json.loads((folder / f"{name}.json").read_text())
    leaves = tuple(Leaf(**{**leaf, "shape": tuple(leaf["shape"])}) for leaf in fields.pop("leaves"))
    return Program(leaves=leaves, **{**fields, "device_ids": tuple(fields["device_ids"])})


def load_program(folder: Path, name: str, program: Program) -> jax.stages.Compiled:
    """Load the executable. It takes its arguments flat and positionally, and returns a flat tuple."""
    if program.platform == "cpu":
        native.missing()  # so that XLA knows the kernels which the program may call
    by_id = {device.id: device for device in jax.devices(program.platform)}
    return serialize_executable.deserialize_and_load(
        (folder / f"{name}.xla").read_bytes(),
        jax.tree.structure(((0,) * len(program.leaves), {})),
        jax.tree.structure((0,) * program.n_outputs),
        backend=program.platform,
        execution_devices=[by_id[device_id] for device_id in program.device_ids],
    )


def load_leaf(folder: Path, name: str, index: int, leaf: Leaf, sharding: jax.sharding.Sharding | None) -> jax.Array:
    """Load one argument into memory that JAX owns (so that it may be donated) and that is resident.

    Args:
        folder, name: as for `write_program`.
        index: which argument.
        leaf: its description.
        sharding: where the program wants it; None when the program does not use it.

    Returns:
        The array, ready.
    """
    if not leaf.has_data:
        return made_up(leaf, index, sharding)
    dtype = np.dtype(jnp.dtype(leaf.dtype))
    if math.prod(leaf.shape) == 0:
        host = np.empty(leaf.shape, dtype)  # an empty file cannot be mapped
    else:
        host = np.memmap(folder / f"{name}.{index}.raw", dtype=np.uint8, mode="r").view(dtype).reshape(leaf.shape)
    return _placed(host, leaf, sharding)


def made_up(leaf: Leaf, seed: int, sharding: jax.sharding.Sharding | None) -> jax.Array:
    """Make an argument of harmless values, ready in memory that JAX owns.

    Args:
        leaf: its description.
        seed: other seeds give other values.
        sharding: where the program wants it; None when the program does not use it.
    """
    return _placed(_random_values(leaf.shape, np.dtype(jnp.dtype(leaf.dtype)), seed), leaf, sharding)


def _placed(host: np.ndarray, leaf: Leaf, sharding: jax.sharding.Sharding | None) -> jax.Array:
    array = jnp.array(host, copy=True)
    if leaf.key_impl is not None:
        array = jax.random.wrap_key_data(array, impl=leaf.key_impl)
    return jax.block_until_ready(array if sharding is None else jax.device_put(array, sharding))


def describe(value: Any, info: Any, place: str) -> tuple[Leaf, np.ndarray | None]:
    """Describe an argument, and give its data as a numpy array where it has any."""
    if not isinstance(value, (jax.Array, jax.ShapeDtypeStruct, np.ndarray, np.generic, bool, int, float, complex)):
        raise ArgumentError(
            f"{place} is a {type(value).__name__}, and a program takes arrays. "
            "Give an array, a number or a jax.ShapeDtypeStruct."
        )
    if isinstance(value, Tracer):
        raise ArgumentError(f"{place} is a tracer. A program can be measured outside of JAX transformations only.")
    if np.shape(value) != info.shape:  # a ShapeDtypeStruct has a shape as well
        raise ArgumentError(f"{place} has shape {np.shape(value)}, the program was compiled for {info.shape}.")
    if isinstance(value, (bool, int, float, complex)):
        value = np.asarray(value, info.dtype)
    elif isinstance(value, (np.ndarray, np.generic)):  # as a call takes it: without x64, an int64 is an int32
        value = np.asarray(value, jax.typeof(value).dtype)
    if value.dtype != info.dtype:
        raise ArgumentError(f"{place} has dtype {value.dtype}, the program was compiled for {info.dtype}.")
    if isinstance(value, jax.Array) and value.is_deleted():
        raise ArgumentError(f"{place} was deleted, perhaps donated to an earlier call. Make it anew.")
    if jnp.issubdtype(info.dtype, jax.dtypes.prng_key):
        return _to_key_leaf(value, info)
    shape = tuple(int(size) for size in info.shape)
    if isinstance(value, jax.ShapeDtypeStruct):
        return Leaf(shape, info.dtype.name, info.donated, has_data=False), None
    return Leaf(shape, info.dtype.name, info.donated, has_data=True), np.asarray(value)


def _to_key_leaf(value: Any, info: Any) -> tuple[Leaf, np.ndarray | None]:
    impls: list[str] = []

    def note_impl(keys: jax.Array) -> jax.Array:
        impls.append(str(jax.random.key_impl(keys)))  # the dtype alone does not answer; a traced array does
        return jax.random.key_data(keys)

    data_type = jax.eval_shape(note_impl, jax.ShapeDtypeStruct(info.shape, info.dtype))
    data = None if isinstance(value, jax.ShapeDtypeStruct) else np.asarray(jax.random.key_data(value))
    return Leaf(data_type.shape, data_type.dtype.name, info.donated, data is not None, impls[0]), data


def _raw_view(array: np.ndarray) -> np.ndarray:
    """The array's memory as bytes; dtypes that numpy itself does not know (bfloat16) have no file format."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _serialize(compiled: jax.stages.Compiled) -> bytes:
    try:
        return serialize_executable.serialize(compiled)[0]
    # Whatever pickle or the backend raises: a callback is an AttributeError, a foreign backend a RuntimeError.
    except Exception as error:
        if isinstance(error, RuntimeError) and "not serializable" in str(error):  # some sorts, in jax 0.10
            advice = "This jaxlib cannot save the program; its compiled peak, memory_analysis(), is still there."
        else:
            advice = (
                "Programs that call back into Python (pure_callback, io_callback, debug.print) are of this kind: "
                "take the callback out and measure again."
            )
        raise MeasureError(
            "this program cannot be moved to a fresh process, so its peak cannot be measured: "
            f"{type(error).__name__}: {str(error).rstrip('.')}. {advice}"
        ) from error


def _devices(compiled: jax.stages.Compiled) -> Sequence[Any]:
    """The program's devices in the order it counts them."""
    shardings = jax.tree.leaves((compiled.input_shardings, compiled.output_shardings))
    for sharding in shardings:
        if isinstance(sharding, jax.sharding.NamedSharding) and isinstance(sharding.mesh, jax.sharding.Mesh):
            return list(sharding.mesh.devices.flat)
    for sharding in shardings:
        return sorted(sharding.device_set, key=lambda device: device.id)
    return jax.local_devices()[:1]  # a program without arguments or results


def _random_values(shape: Sequence[int], dtype: np.dtype, seed: int) -> np.ndarray:
    """Values that are resident memory (not pages of zeros) and harmless: around 1, small integers, coin flips."""
    generator = np.random.default_rng(seed)
    values = np.empty(shape, dtype)
    flat = values.reshape(-1)
    for start in range(0, flat.size, _RANDOM_BLOCK):
        block = flat[start : start + _RANDOM_BLOCK]
        if dtype == np.bool_:
            block[:] = generator.integers(0, 2, block.size)
        elif jnp.issubdtype(dtype, np.integer):
            block[:] = generator.integers(1, min(100, int(jnp.iinfo(dtype).max)) + 1, block.size)
        else:
            block[:] = (generator.random(block.size, np.float32) + np.float32(0.5)).astype(dtype)
    return values

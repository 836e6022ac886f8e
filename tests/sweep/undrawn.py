"""The functions that the sweep does not draw, each with its reason. A name that this JAX does not have is no matter."""

_HOST = "works on the host: it takes or gives text, files, types or tokens, not arrays of a program"
_VALUES = "needs the values of its arguments, so that no program can hold it"
_MANUAL = "is for the inside of `jax.shard_map`, over a mesh of several devices"

UNDRAWN: dict[str, str] = {
    "lax.after_all": _HOST,
    "lax.create_token": _HOST,
    "lax.pbroadcast": _MANUAL,
    "lax.pcast": _MANUAL,
    "lax.precv": _MANUAL,
    "lax.psend": _MANUAL,
    "lax.ragged_all_to_all": _MANUAL,
    "numpy.array_repr": _HOST,
    "numpy.array_str": _HOST,
    "numpy.einsum_path": _HOST,
    "numpy.from_dlpack": _HOST,
    "numpy.frombuffer": _HOST,
    "numpy.fromfile": _HOST,
    "numpy.fromiter": _VALUES,
    "numpy.fromstring": _HOST,
    "numpy.get_printoptions": _HOST,
    "numpy.load": _HOST,
    "numpy.printoptions": _HOST,
    "numpy.save": _HOST,
    "numpy.savez": _HOST,
    "numpy.set_printoptions": _HOST,
    "numpy.trim_zeros": _VALUES,
}

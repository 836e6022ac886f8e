"""The functions that the sweep does not draw, each with its reason. A name that this JAX does not have is no matter."""

_HOST = "works on the host: it takes or gives text or files, not arrays of a program"
_VALUES = "needs the values of its arguments, so that no program can hold it"
_NOT_ON_CPU = "sends between devices, which plain JAX has no way to compile for the CPU"
_REFUSED = "JAX itself refuses to run it"

UNDRAWN: dict[str, str] = {
    "lax.pbroadcast": _NOT_ON_CPU,
    "lax.precv": _NOT_ON_CPU,
    "lax.psend": _NOT_ON_CPU,
    "lax.ragged_all_to_all": _NOT_ON_CPU,
    "numpy.array_repr": _HOST,
    "numpy.array_str": _HOST,
    "numpy.fromfile": _REFUSED,
    "numpy.fromiter": _REFUSED,
    "numpy.get_printoptions": _HOST,
    "numpy.load": _HOST,
    "numpy.printoptions": _HOST,
    "numpy.save": _HOST,
    "numpy.savez": _HOST,
    "numpy.set_printoptions": _HOST,
    "numpy.trim_zeros": _VALUES,
}

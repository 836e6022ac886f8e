"""What an array's type says of where it is: over which devices, in which memory.

What is cut, and what loops stack, is in the memory of one device.
"""

from __future__ import annotations

from typing import Any

import jax


def varying_axes(aval: Any) -> list[str]:
    """Returns the mesh axes over which `jax.shard_map` says that an array varies; none without `check_vma`."""
    return sorted(map(str, getattr(getattr(aval, "mat", None), "varying", ())))


def is_sharded(aval: Any) -> bool:
    """Tells whether an array's type says that it is spread over devices, as with explicit mesh axes.

    So does one that says over which axes its sum is still to be taken, or was before differentiation.
    """
    spec = getattr(getattr(aval, "sharding", None), "spec", None)
    return spec is not None and (has_open_sums(aval) or any(axes is not None for axes in spec.partitions))


def is_elsewhere(aval: Any) -> bool:
    """Tells whether an array's type says that it is in another memory than the device's own, such as the host's."""
    return getattr(aval, "memory_space", jax.memory.Space.Device) != jax.memory.Space.Device


def is_bound(aval: Any) -> bool:
    """Tells whether an array's type says where it is: spread over devices, or in another memory."""
    return is_sharded(aval) or is_elsewhere(aval)


def is_in_other_mesh(context: Any) -> bool:
    """Tells whether mesh axes have other types in an equation's context than around, as in `jax.sharding.auto_axes`."""
    mesh, around = getattr(context, "cur_abstract_mesh", None), jax.sharding.get_abstract_mesh()
    return mesh is not None and not mesh.empty and not around.empty and mesh.axis_types != around.axis_types


def has_open_sums(aval: Any) -> bool:
    """Tells whether an array's type says of a sum over devices that it is still to be taken."""
    spec = getattr(getattr(aval, "sharding", None), "spec", None)
    return spec is not None and bool(spec.unreduced or spec.reduced)


def lack_devices(args: Any) -> bool:
    """Tells whether any argument's type is on a mesh that is abstract: it says how many devices, and not which."""
    meshes = (getattr(getattr(x, "sharding", None), "mesh", None) for x in jax.tree.leaves(args))
    return any(isinstance(mesh, jax.sharding.AbstractMesh) and not mesh.empty for mesh in meshes)

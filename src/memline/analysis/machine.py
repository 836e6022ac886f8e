"""What the estimates take a device to be: a handful of rates, measured once."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Machine:
    """What the estimate takes a device to be; rates are per second for the whole device."""

    contraction_flops: float
    """Multiply-adds of float32 matrix products by the fastest library, counted as two."""
    unturned_share: float
    """How much of that products reach whose left operand is not contracted along its last axis."""
    tall_share: float
    """The same, where the result is much taller than wide."""
    turned_bytes_per_s: float
    """Writing an array anew with its axes in another order."""
    other_flops: float
    """Multiply-adds of convolutions, factorisations and triangular solves."""
    elementwise_flops: float
    cache_bytes: tuple[tuple[int, float], ...]
    """Pairs (buffers up to this size, bytes per second), fastest first."""
    memory_bytes_per_s: float
    first_touch_bytes_per_s: float
    kernel_s: float
    """Launch of a kernel."""
    share_s: float
    """Sharing a kernel out among the cores."""
    library_s: float
    """A call of a library: a product, a convolution, a factorisation."""
    loop_s: float
    """An iteration of a loop, beside its kernels."""
    row_s: float
    """Beginning one more row of a sort or a top-k."""
    compared_per_s: float
    """Elements that memline's own top-k compares, where they are in a cache."""
    better_s: float
    """What an element takes there that is better than those kept, for one core."""
    serial_bytes: int
    """Kernels that write less than this do not use more than one core (or fill the device)."""
    cores: int
    vector: int
    """Elements of float32 that a core computes together; rows of other lengths end with some computed one by one."""
    ragged: float
    """What the end of such a row costs, in elements of a long one."""
    one_by_one: float
    """How many times longer an element computed by itself takes."""
    short_row: int
    """Beginning a row takes time of its own where rows are shorter than so many elements."""
    short_row_s: float
    """That time, for one core."""
    far_element_s: float
    """What an element takes, for one core, that a cache has no room for because of where rows begin."""
    whole_step_bytes: int
    """A loop whose step touches no more than this is compiled into one function, which calls no kernels."""

    def inside_one_function(self) -> Machine:
        """Returns the machine as a loop sees it that is compiled into one function."""
        return replace(self, kernel_s=_PASSED_S, loop_s=_PASSED_S, share_s=0.0, library_s=0.0)


_PASSED_S = 2e-9


CPU = Machine(
    contraction_flops=440e9,
    unturned_share=0.75,
    tall_share=0.25,
    turned_bytes_per_s=12e9,
    other_flops=300e9,
    elementwise_flops=30e9,
    cache_bytes=((1 << 20, 160e9), (8 << 20, 120e9), (24 << 20, 60e9)),
    memory_bytes_per_s=12e9,
    first_touch_bytes_per_s=2.5e9,
    kernel_s=1e-7,
    share_s=3e-6,
    library_s=5e-7,
    loop_s=2e-7,
    row_s=1e-6,
    compared_per_s=20e9,
    better_s=4e-8,
    serial_bytes=1 << 16,
    cores=2,
    vector=16,
    ragged=55.0,
    one_by_one=6.0,
    short_row=40,
    short_row_s=5e-9,
    far_element_s=4.8e-9,
    whole_step_bytes=1 << 11,
)
GPU = Machine(
    contraction_flops=40e12,
    unturned_share=1.0,
    tall_share=1.0,
    turned_bytes_per_s=1e12,
    other_flops=40e12,
    elementwise_flops=10e12,
    cache_bytes=((32 << 20, 5e12),),
    memory_bytes_per_s=2e12,
    first_touch_bytes_per_s=1e15,
    kernel_s=4e-6,
    share_s=0.0,
    library_s=0.0,
    loop_s=10e-6,
    row_s=1e-9,
    compared_per_s=1e12,
    better_s=0.0,
    serial_bytes=1 << 20,
    cores=8,
    vector=1,
    ragged=0.0,
    one_by_one=1.0,
    short_row=0,
    short_row_s=0.0,
    far_element_s=0.0,
    whole_step_bytes=0,
)


def machine_for(platform: str) -> Machine:
    """Returns the machine that estimates for a platform are made with."""
    return CPU if platform == "cpu" else GPU

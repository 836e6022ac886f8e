"""What the first step of `optax.adamw` makes of rounding."""

FIRST_STEP_TOLERANCE = 1e-2
"""For parameters after a first step of adamw, which is as long for a gradient of rounding as for any other."""


def first_step_note() -> str:
    """Why parameters differ by more than rounding."""
    return (
        "adamw's first step divides each gradient by its own size, so that rounding in the smallest ones shows in "
        "parameters that start at zero; the gradients' averages, which are results too, agree to rounding"
    )

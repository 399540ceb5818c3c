"""What half precision can hold."""

from __future__ import annotations

import numpy as np

from coregraft.rewriter.types import Array

#: Largest finite half-precision number, smallest normal one, smallest subnormal one.
MAX = 65504.0
MIN_NORMAL = 2.0**-14
MIN_SUBNORMAL = 2.0**-24
#: Largest relative rounding error of a normal half-precision number.
ROUNDING = 2.0**-11


def overflows(array: Array) -> bool:
    """Whether a finite element is out of range. Two reductions and no copy: weights are large."""
    if not array.size:
        return False
    low, high = float(array.min()), float(array.max())
    if np.isfinite(low) and np.isfinite(high):
        return max(high, -low) >= 65520.0  # from here on rounding gives infinity
    finite = array[np.isfinite(array)]
    return overflows(finite) if finite.size else False


def loses(array: Array) -> bool:
    """Whether a non-zero element is off by more than rounding: below the normal range, or rounded to zero."""
    small = np.abs(array[(array != 0) & (np.abs(array) < MIN_NORMAL)]).astype(np.float64)
    if not small.size:
        return False
    rounded = small.astype(np.float16).astype(np.float64)
    return bool(np.any(np.abs(rounded - small) > 2 * ROUNDING * small))

"""What half precision can hold, to the last number that it can."""

import numpy as np
import pytest

from coregraft.passes.precision._half import MAX, MIN_NORMAL, MIN_SUBNORMAL, loses, overflows

INF, NAN = float("inf"), float("nan")
BELOW = float(np.nextafter(np.float32(65520), np.float32(0)))


def test_the_limits_are_those_of_numpy() -> None:
    half = np.finfo(np.float16)
    limits = [float(limit) for limit in (half.max, half.smallest_normal, half.smallest_subnormal)]
    assert limits == [MAX, MIN_NORMAL, MIN_SUBNORMAL]


@pytest.mark.parametrize("values", [[], [0.0], [MAX, -MAX], [BELOW, -BELOW], [INF], [-INF, 1.0], [NAN], [NAN, BELOW]])
def test_in_range(values: list[float]) -> None:
    """Infinities and NaN are values that half precision has."""
    array = np.array(values, np.float32)
    assert not overflows(array)
    with np.errstate(over="ignore"):
        assert np.array_equal(np.isfinite(array.astype(np.float16)), np.isfinite(array))


@pytest.mark.parametrize("values", [[65520.0], [0.0, -65520.0], [INF, 65520.0], [-INF, -1e9], [NAN, 3e38]])
def test_out_of_range(values: list[float]) -> None:
    assert overflows(np.array(values, np.float32))


@pytest.mark.parametrize(
    "value",
    [0.0, 1.1, 1e9, MIN_NORMAL, MIN_NORMAL * (1 + 2**-12), MIN_SUBNORMAL, 3 * MIN_SUBNORMAL, 2**-15 + 2**-26],
)
def test_kept_up_to_rounding(value: float) -> None:
    """Normal numbers lose by rounding alone; subnormal ones that are near a multiple of the smallest, too."""
    assert not loses(np.array([1.0, value], np.float32)) and not loses(np.array([-value], np.float32))


@pytest.mark.parametrize("value", [1e-12, MIN_SUBNORMAL / 2, 1.5 * MIN_SUBNORMAL, 2**-16 + 0.9 * 2**-25, 6e-6 / 11])
def test_lost(value: float) -> None:
    assert loses(np.array([1.0, value], np.float32)) and loses(np.array([-value], np.float32))

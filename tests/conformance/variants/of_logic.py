"""Not, And, Or, Xor."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.variants.variant import Variant, data, family, versions


@family("Not")
def negation(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in ((), (3,), (2, 3, 4)):
            yield Variant(opset, [data(*shape, dtype=bool)])


@family("And", "Or", "Xor")
def binary(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for left, right in (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((), (2,))):
            operands = [data(*left, dtype=bool), data(*right, dtype=bool, seed=1)]
            for constants in ((), (0,), (1,)):
                yield Variant(opset, operands, constants=constants)

"""What a case is converted for: model format, deployment target, precision."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from coregraft.lowering.convert import PRECISIONS, Precision
from coregraft.rewriter.target import ORDER


@dataclass(frozen=True)
class Setting:
    """One way to convert; the default is the one that the complete records are of.

    Attributes:
        format: ``mlprogram`` or ``neuralnetwork``.
        target: deployment target.
        precision: ``fp32``, or ``fp16``, which only an ML Program has.
    """

    format: str = "mlprogram"
    target: str = "iOS17"
    precision: Precision = "fp32"

    @property
    def is_base(self) -> bool:
        """Whether it is the one that the complete records of its format are of."""
        return self == Setting(self.format)

    def __str__(self) -> str:
        return f"{self.format} {self.target} {self.precision}"


BASE = Setting()
#: The settings beside the base of a format; what differs from the base is on record.
OTHERS = (
    Setting(target="iOS15"),
    Setting(target="iOS16"),
    Setting(target="iOS18"),
    Setting(target="iOS26"),
    Setting(target="iOS15", precision="fp16"),
    Setting(target="iOS17", precision="fp16"),
    Setting(target="iOS18", precision="fp16"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a run that choose settings, but for the format, and a sample."""
    parser.add_argument("--others", action="store_true", help="in all other settings that are on record")
    parser.add_argument("--target", choices=ORDER, default=BASE.target, help="deployment target")
    parser.add_argument("--precision", choices=PRECISIONS, default=BASE.precision, help="precision of an ML Program")
    parser.add_argument("--one-in", type=int, metavar="N", help="a sample: only one in so many")

"""The drift per layer as a plain SVG: one dot a value, log scale, the tolerance as a line."""

from __future__ import annotations

import math
from html import escape

from coregraft.verification.compare import Tolerance
from coregraft.verification.drift import Drift

WIDTH, HEIGHT, LEFT, BOTTOM = 960, 320, 64, 24
#: Decades shown: below a relative error of 1e-9 nothing is told apart from zero.
LOW, HIGH = -9, 1


def svg(drift: Drift, tolerance: Tolerance) -> str:
    """An SVG document; hovering over a dot names the layer."""
    layers = [x for x in drift.layers if x.comparison.relative_l2 is not None]
    box = f"0 0 {WIDTH} {HEIGHT}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for decade in range(LOW, HIGH + 1, 2):
        y = _y(10.0**decade)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">1e{decade}</text>')
    y = _y(tolerance.relative_l2)
    ends = f'x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"'
    parts.append(f'<line {ends} stroke="#c0392b" stroke-dasharray="4"/>')
    for i, layer in enumerate(layers):
        x = LEFT + (WIDTH - 8 - LEFT) * (i + 0.5) / max(len(layers), 1)
        error = layer.comparison.relative_l2 or 0.0
        colour = "#2c6fbb" if layer.comparison.ok else "#c0392b"
        title = escape(f"{layer.op}: {layer.value}, relative L2 {error:.3g}")
        parts.append(f'<circle cx="{x:.1f}" cy="{_y(error):.1f}" r="3" fill="{colour}"><title>{title}</title></circle>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">layers in program order; relative L2 error</text></svg>')
    return "\n".join(parts) + "\n"


def _y(error: float) -> float:
    decade = min(max(math.log10(error) if error > 0 else LOW, LOW), HIGH)
    return 8 + (HEIGHT - 8 - BOTTOM) * (HIGH - decade) / (HIGH - LOW)

"""PyTorch modules that coremltools converts, lifted and compared with PyTorch itself, where torch is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lowering.lift.one_op import run_graph

torch = pytest.importorskip("torch")

MODULES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "conv": (lambda n: n.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (1, 4, 9, 9)),
    "dilated": (lambda n: n.Conv1d(4, 6, 3, dilation=2), (1, 4, 12)),
    "transposed": (lambda n: n.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (1, 4, 5, 5)),
    "batch-norm": (lambda n: n.BatchNorm2d(4).eval(), (2, 4, 5, 5)),
    "instance-norm": (lambda n: n.InstanceNorm2d(4, affine=True), (2, 4, 5, 5)),
    "group-norm": (lambda n: n.GroupNorm(2, 4), (2, 4, 5, 5)),
    "layer-norm": (lambda n: n.LayerNorm(6), (2, 4, 6)),
    "max-pool": (lambda n: n.MaxPool2d(3, 2, 1, ceil_mode=True), (1, 4, 8, 8)),
    "average-pool": (lambda n: n.AvgPool2d(3, 2, 1, count_include_pad=False), (1, 4, 8, 8)),
    "linear": (lambda n: n.Sequential(n.Linear(6, 5), n.GELU(), n.Linear(5, 4), n.Softmax(-1)), (2, 3, 6)),
    "upsample": (lambda n: n.Upsample(scale_factor=2, mode="bilinear"), (1, 4, 5, 5)),
    "pixel-shuffle": (lambda n: n.PixelShuffle(2), (1, 8, 5, 5)),
    "activations": (lambda n: n.Sequential(n.ELU(), n.LeakyReLU(), n.Hardswish(), n.SiLU(), n.Mish()), (2, 6)),
}


@pytest.mark.parametrize("convert_to", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("name", list(MODULES))
def test_module(name: str, convert_to: str, tmp_path: Path) -> None:
    import coremltools as ct

    from coregraft.lowering.lift import lift

    make, shape = MODULES[name]
    torch.manual_seed(0)
    module = make(torch.nn).eval()
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    options: dict[str, Any] = {"compute_precision": ct.precision.FLOAT32} if convert_to == "mlprogram" else {}
    traced = torch.jit.trace(module, torch.from_numpy(x))
    model = ct.convert(
        traced, inputs=[ct.TensorType("x", shape)], convert_to=convert_to, skip_model_load=True, **options
    )
    path = tmp_path / ("m.mlpackage" if convert_to == "mlprogram" else "m.mlmodel")
    model.save(str(path))
    (result,) = run_graph(lift(path), {"x": x}).values()
    np.testing.assert_allclose(result, want, rtol=1e-3, atol=1e-4)

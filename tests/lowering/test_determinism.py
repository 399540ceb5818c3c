"""The same model gives the same bytes, whatever the hash seed and whatever was converted before."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

_SCRIPT = """
import hashlib, pathlib, tempfile
import onnx
from onnx import parser
from coregraft.lowering.convert import convert

model = parser.parse_model('''
    <ir_version: 8, opset_import: ["" : 21]>
    g (float[2, 8] x) => (float[2, 8] y, float[2, 4] s, float[2, 4] t)
    <float[8, 8] w = {%s}>
    {
        a = MatMul (x, w)
        b = Sigmoid (a)
        c = Mul (a, b)
        s, t = Split <axis = 1, num_outputs = 2> (c)
        d = Concat <axis = 1> (t, s)
        e = Tanh (d)
        y = Add (c, e)
    }
''' % ", ".join(str(i / 64) for i in range(64)))
model.metadata_props.add(key="zeta", value="1")
model.metadata_props.add(key="alpha", value="2")
digest = hashlib.sha256()
with tempfile.TemporaryDirectory() as folder:
    for suffix, format in ((".mlpackage", "mlprogram"), (".mlmodel", "neuralnetwork")):
        path = pathlib.Path(folder) / f"m{suffix}"
        convert(model, passes=["cleanup"], precision="fp32", format=format).save(path)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
print(digest.hexdigest())
"""


def _digest(seed: str, script: str = _SCRIPT) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neither_the_hash_seed_nor_an_earlier_conversion_shows() -> None:
    body, mark, tail = _SCRIPT.partition("digest = hashlib.sha256()")
    twice = f"{body}convert(model, passes=[], precision='fp32')\n{mark}{tail}"
    digests = {_digest("0"), _digest("4242"), _digest("1", twice)}
    assert len(digests) == 1
    assert digests != {hashlib.sha256().hexdigest()}, "nothing was written"

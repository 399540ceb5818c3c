"""The Swift package of a model's custom layers: classes, kernels, tests with golden vectors, and what is left to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from coregraft.custom_layers import golden
from coregraft.custom_layers.stubs import Stub, has_kernel, left_to_do, render, render_kernel, stubs_of
from coregraft.custom_layers.templating import template
from coregraft.custom_layers.use import Use


def package_name(model: str) -> str:
    """The package and module of the layers of a model: ``my-net`` has ``MyNetCustomLayers``."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", model) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    return f"{name if name[:1].isalpha() else 'Model' + name}CustomLayers"


def package(uses: Sequence[Use], model: str, *, folder: str | None = None) -> Mapping[str, str]:
    """The files of a package, text by path.

    Args:
        uses: the layers.
        model: name of the model's file without its suffix.
        folder: of the package; its name by default, empty for paths inside it.
    """
    stubs = stubs_of(uses)
    name = package_name(model)
    names = [stub.name for stub in stubs]
    list_name = name[0].lower() + name[1:]
    vectors = {stub.name: golden.cases(stub.uses) for stub in stubs}
    sources, tests = f"Sources/{name}", f"Tests/{name}Tests"
    files = {
        "Package.swift": template("Package.swift.j2").render(package=name, classes=names),
        "README.md": template("README.md.j2").render(
            package=name, model=model, list_name=list_name, golden=_golden_words(vectors),
            classes=[_described(stub, vectors[stub.name]) for stub in stubs],
        ),
        f"{sources}/CustomLayers.swift": template("CustomLayers.swift.j2").render(classes=names, list_name=list_name),
        f"{sources}/Tensor.swift": template("Tensor.swift.j2").render(),
        f"{tests}/GoldenCase.swift": template("GoldenCase.swift.j2").render(),
    }  # fmt: skip
    for stub in stubs:
        found = vectors[stub.name]
        files[f"{sources}/{stub.name}.swift"] = render(stub)
        files[f"{sources}/{stub.name}.metal"] = render_kernel(stub)
        files[f"{tests}/{stub.name}Tests.swift"] = template("Tests.swift.j2").render(
            package=name, name=stub.name, cases=bool(found), why=_why_none(stub)
        )
        files[f"{tests}/Golden/{stub.name}.json"] = json.dumps(found, indent=1) + "\n"
    root = f"{name}/" if folder is None else f"{folder}/" if folder else ""
    return {f"{root}{path}": stamped(path, text) for path, text in sorted(files.items())}


def stamped(path: str, text: str) -> str:
    """A generated text with the mark by which :func:`coregraft.lowering.package.is_edited` knows it later."""
    from coregraft.lowering.package import stamp

    return stamp(path, text)


def _described(stub: Stub, vectors: Sequence[Any]) -> dict[str, Any]:
    whole = has_kernel(stub)
    left = [*left_to_do(stub), *([] if whole else ["the Metal kernel, if the GPU is wanted"])]
    layer = stub.layer
    notes = []
    if layer is None:
        notes.append("Nobody registered this op: its parameters are the attributes found in the model.")
    else:
        notes += [f"`{body.text}`: `evaluate` is generated whole." for body in layer.bodies]
    if whole:
        notes.append("The Metal kernel is generated whole, and off until it has been compared on a device.")
    weights = sorted({i for use in stub.uses for i in use.constants})
    if weights:
        notes.append(f"Constant operands ({', '.join(map(str, weights))}) arrive as ordinary inputs, in fp32.")
    notes.append(f"{len(vectors)} golden case(s)." if vectors else f"No golden vectors: {_why_none(stub)}.")
    return {
        "name": stub.name,
        "op": f"{stub.domain}.{stub.op_type}",
        "layers": len(stub.uses),
        "left": "; ".join(left) or "nothing",
        "notes": notes,
    }


def _why_none(stub: Stub) -> str:
    if stub.layer is not None and stub.layer.reference is not None:
        return "the model's tensors are too large for a test"
    return "the op has no NumPy reference; register one with coregraft.custom_layers"


def _golden_words(vectors: Mapping[str, Sequence[Any]]) -> str:
    lacking = [name for name, found in sorted(vectors.items()) if not found]
    if not lacking:
        return "The vectors come from the references of the ops."
    return f"There are none for {', '.join(lacking)}: those tests are skipped."

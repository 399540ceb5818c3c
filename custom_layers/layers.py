"""An op without a lowering as a ``custom`` layer of a neuralnetwork: the layer in the model, and its Swift package.

ML Programs have no custom layers (hazard H8.01), so this rung exists in the neuralnetwork format only.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coregraft.custom_layers import own
from coregraft.custom_layers.registry import default_class, registered
from coregraft.custom_layers.use import Use, use_of
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, TensorType

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


def class_name(op: Op) -> str:
    """The Swift and Objective-C name of the class of an op: ``com.acme`` ``FancyOp`` is ``ComAcmeFancyOp``."""
    layer = registered(op.domain, op.type)
    return default_class(op.domain, op.type) if layer is None else layer.swift_class


class CustomLayers:
    """The custom layers of one conversion (a :class:`coregraft.lowering.fallback.Fallback`)."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self._taken: list[dict[str, str]] = []

    def own(self, g: Graph, names: Iterable[str]) -> None:
        """See that ops become layers although they have a lowering: :func:`coregraft.custom_layers.own.own`."""
        own.own(g, names)

    def emit(self, b: Emitter, op: Op, why: UnsupportedError) -> Sequence[Any]:
        """Emit an op as a custom layer.

        Raises:
            UnsupportedError: as :func:`coregraft.custom_layers.use.use_of`; ``shape-unknown``.
        """
        if why.code == "op-unsupported" and any(True for _ in op.bodies()):
            raise why  # no layer holds a graph, so what would help is what the emitter asks for
        op = own.disown(op)
        use = use_of(op, lambda name: TensorType(b.type(name).dtype, b.shape(name)), lambda name: _const(b, name))
        parameters = use.parameters
        kinds = tuple((s.key, s.kind) for s in (*use.settings, *use.shapes))
        description = f"{op.domain or 'ai.onnx'}.{op.type}"
        operation = _operation(use.class_name, description, len(use.operands), kinds)
        operands = {f"x{n}": b.var(op.inputs[i]) for n, i in enumerate(use.operands)}
        outputs = [name for name in op.outputs if name]
        results = getattr(b.mb, operation)(
            **operands, **parameters, result_types=[_mil_type(b, output) for output in outputs], name=b.name(op)
        )
        found = list(results) if isinstance(results, (list, tuple)) else [results]
        self.uses.append(use)
        self._taken.append(
            {"op": op.label, "rung": "custom-layer", "class": use.class_name, "cost": "never on the Neural Engine"}
        )
        by_name = dict(zip(outputs, found, strict=True))
        return [by_name.get(output) for output in op.outputs]

    def files(self, model: str = "Model") -> Mapping[str, str]:
        """The Swift package of the layers of a model of that name: text by path beside the model."""
        from coregraft.custom_layers.swift_package import package

        return package(self.uses, model) if self.uses else {}

    def taken(self) -> Sequence[Mapping[str, str]]:
        """The ops that became layers, in order."""
        return self._taken


def _const(b: Emitter, name: str) -> Const | None:
    array = b.const(name)
    return None if array is None else Const.of(array)


def _mil_type(b: Emitter, name: str) -> Any:
    from coremltools.converters.mil.mil import types

    from coregraft.lowering.emitter import MIL_NAMES

    builtin = types.string_to_builtin(MIL_NAMES[b.dtype(name)])
    shape = b.shape(name)
    return types.tensor(builtin, shape) if shape else builtin


@functools.cache
def _operation(class_name: str, description: str, inputs: int, parameters: tuple[tuple[str, str], ...]) -> str:
    """The name of the MIL operation of a layer class; it is registered with coremltools at the first call.

    Its operands are ``x0``, ``x1``, …; its parameters are constants under their own names.
    """
    from coremltools.converters.mil.mil import Operation, types
    from coremltools.converters.mil.mil.input_type import InputSpec, InternalInputType, TensorInputType
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    any_tensor = (types.fp32, types.fp16, types.int32, types.bool)
    domains = {"bool": types.bool, "int": types.int32, "double": types.fp32, "string": types.str}
    operands = {f"x{i}": TensorInputType(type_domain=any_tensor) for i in range(inputs)}
    constants = {key: TensorInputType(const=True, type_domain=domains[kind]) for key, kind in parameters}

    def type_inference(self: Any) -> Any:
        found = tuple(self.result_types.val)
        return found[0] if len(found) == 1 else found

    key = hashlib.blake2b(repr((inputs, parameters)).encode(), digest_size=4).hexdigest()
    made = type(
        f"coregraft_{class_name}_{key}",
        (Operation,),
        {
            "input_spec": InputSpec(**operands, **constants, result_types=InternalInputType()),
            "bindings": {
                "class_name": class_name,
                "input_order": list(operands),
                "parameters": list(constants),
                "description": description,
            },
            "type_inference": type_inference,
        },
    )
    SSAOpRegistry.register_op(is_custom_op=True, allow_override=True)(made)
    return made.__name__

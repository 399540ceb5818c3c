"""Which function emits which op: ``@lower("Conv", …)`` puts an emitter in the table that targets are derived from."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.registry import registry
from coregraft.rewriter.target import FORMATS, ORDER

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

EmitFn = Callable[["Emitter", Op], Any]


@dataclass(frozen=True, slots=True)
class Lowering:
    """An emitter and the ground it covers.

    Attributes:
        emit: the function; it returns one MIL var per output of the op.
        attrs: the attributes it honours; any other with a value that differs from its default is refused.
        since: the oldest deployment target it works for. Of several, the newest that the target allows is taken.
        formats: the model formats it works for.
        owner: who registered it, for messages.
    """

    domain: str
    type: str
    emit: EmitFn
    attrs: frozenset[str]
    since: str
    formats: tuple[str, ...]
    owner: str

    @property
    def key(self) -> tuple[str, str]:
        return self.domain, self.type


_TABLE: dict[tuple[str, str], list[Lowering]] = {}
_LOADED: set[str] = set()


def lower(
    *types: str,
    attrs: str | Sequence[str] = (),
    since: str = "iOS15",
    formats: Sequence[str] = FORMATS,
    domain: str = "",
) -> Callable[[EmitFn], EmitFn]:
    """Register the decorated function as the emitter of some op types.

    Args:
        types: ONNX op types of ``domain``, in their form at the internal opset.
        attrs: the attributes that the function honours, as a list or as one string with spaces.
        since: oldest deployment target it works for.
        formats: model formats it works for.
        domain: ONNX domain of the op types.

    Raises:
        UsageError: ``lowering-duplicate``; ``target-unknown``; ``format-unknown``.
    """

    def decorate(emit: EmitFn) -> EmitFn:
        for op_type in types:
            register_lowering(op_type, emit, attrs=attrs, since=since, formats=formats, domain=domain)
        return emit

    return decorate


def register_lowering(
    op_type: str,
    emit: EmitFn,
    *,
    attrs: str | Sequence[str] = (),
    since: str = "iOS15",
    formats: Sequence[str] = FORMATS,
    domain: str = "",
    owner: str | None = None,
) -> Lowering:
    """Add one lowering to the table: what :func:`lower` and plugins call. See there for the arguments.

    Raises:
        UsageError: ``lowering-duplicate`` naming both owners; ``target-unknown``; ``format-unknown``.
    """
    if since not in ORDER:
        raise UsageError("target-unknown", f'deployment target "{since}" is unknown', hint=f"one of {', '.join(ORDER)}")
    if unknown := [f for f in formats if f not in FORMATS]:
        raise UsageError("format-unknown", f'format "{unknown[0]}" is unknown', hint=f"one of {', '.join(FORMATS)}")
    names = frozenset(attrs.split() if isinstance(attrs, str) else attrs)
    owner = owner or f"{emit.__module__}:{emit.__qualname__}"
    new = Lowering(domain, op_type, emit, names, since, tuple(formats), owner)
    for old in _TABLE.get(new.key, ()):
        if old.since == since and set(old.formats) & set(new.formats):
            raise UsageError("lowering-duplicate", f"two lowerings of {op_type}: {old.owner} and {new.owner}")
    _TABLE.setdefault(new.key, []).append(new)
    _table_for.cache_clear()
    return new


def unregister(lowering: Lowering) -> None:
    """Take a lowering out again (a plugin that is unloaded, a test)."""
    _TABLE[lowering.key].remove(lowering)
    if not _TABLE[lowering.key]:
        del _TABLE[lowering.key]
    _table_for.cache_clear()


def table_for(target: str, format: str) -> Mapping[tuple[str, str], Lowering]:
    """The lowering of each (domain, op type) that a deployment target and format have; sorted by key."""
    load_all()
    return _table_for(target, format)


@functools.cache
def _table_for(target: str, format: str) -> Mapping[tuple[str, str], Lowering]:
    # The neuralnetwork format stopped growing with iOS 14: newer MIL ops do not exist in it, whatever the target.
    newest = 0 if format == "neuralnetwork" else ORDER.index(target)
    found: dict[tuple[str, str], Lowering] = {}
    for key in sorted(_TABLE):
        usable = [x for x in _TABLE[key] if format in x.formats and ORDER.index(x.since) <= newest]
        if usable:
            found[key] = max(usable, key=lambda x: ORDER.index(x.since))
    return MappingProxyType(found)


def load_all() -> None:
    """Import what registers lowerings, our own and plugins', each once."""
    for name, provider in registry().items["lowerings"].items():
        if name not in _LOADED:
            _LOADED.add(name)
            provider.load()()


def load_families() -> None:
    """Import the modules ``emit_*`` beside this one, in the order of their names: our own lowerings."""
    import coregraft.lowering as room

    for module in sorted(m.name for m in pkgutil.iter_modules(room.__path__) if m.name.startswith("emit_")):
        importlib.import_module(f"coregraft.lowering.{module}")

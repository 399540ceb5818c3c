"""Who provides which pass, lowering and custom layer: our own rooms, and plugins found by entry point.

A plugin is a :class:`Plugin` value in the entry-point group ``coregraft.plugins``. Everything in it is a lazy
``"module:attribute"`` string. Its names are ``owner:name``; ours have no owner.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from coregraft.rewriter.contract import Pass
from coregraft.rewriter.errors import UsageError

API = 1
GROUP = "coregraft.plugins"
#: Our own rooms, as plugins without an owner. Named, not imported: the engine knows no room above it.
_BUILTIN = ("coregraft.passes:PLUGIN", "coregraft.lowering:PLUGIN", "coregraft.custom_layers:PLUGIN")
KINDS = ("passes", "lowerings", "custom_layers")


@dataclass(frozen=True)
class Plugin:
    """What a package adds to coregraft: names mapped to ``"module:attribute"`` strings.

    Attributes:
        name: the owner, prefix of every name (empty for coregraft itself).
        api: version of this contract that the plugin was written for.
        passes: rules and passes (both are passes): subclasses of ``Pass``.
        lowerings: functions that register emitters, called once.
        custom_layers: functions that register custom layers, called once.
    """

    name: str
    api: int = API
    passes: Mapping[str, str] = field(default_factory=dict)
    lowerings: Mapping[str, str] = field(default_factory=dict)
    custom_layers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Provider:
    """One registered thing: where it comes from and how to load it."""

    name: str
    reference: str
    distribution: str

    def load(self) -> Any:
        """Import it.

        Raises:
            UsageError: ``plugin-broken``, naming the distribution, when that fails.
        """
        try:
            return _load(self.reference)
        except (ImportError, AttributeError) as error:
            raise UsageError(
                "plugin-broken", f'"{self.name}" of {self.distribution} cannot be loaded: {error}'
            ) from error


@dataclass
class Registry:
    """Everything registered, by kind and name; ``problems`` are plugins that could not be taken, and why."""

    items: dict[str, dict[str, Provider]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    problems: list[str] = field(default_factory=list)

    def add(self, plugin: Plugin, distribution: str) -> None:
        """Register what a plugin offers.

        Raises:
            UsageError: ``plugin-api``, ``plugin-name`` or ``plugin-conflict`` (names both distributions).
        """
        if plugin.api != API:
            raise UsageError("plugin-api", f"{distribution} was written for plugin API {plugin.api}; this is {API}")
        if plugin.name and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", plugin.name):
            raise UsageError("plugin-name", f"{distribution}: {plugin.name!r} is not a plugin name")
        for kind in KINDS:
            for short, reference in getattr(plugin, kind).items():
                name = f"{plugin.name}:{short}" if plugin.name else short
                known = self.items[kind].get(name)
                if known is not None and (known.reference, known.distribution) != (reference, distribution):
                    raise UsageError(
                        "plugin-conflict", f'"{name}" is provided by both {known.distribution} and {distribution}'
                    )
                self.items[kind][name] = Provider(name, reference, distribution)


def _load(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


@functools.cache
def _global() -> Registry:
    registry = Registry()
    for reference in _BUILTIN:
        registry.add(_load(reference), "coregraft")
    points = sorted({(p.value, p.name, _distribution(p)) for p in metadata.entry_points(group=GROUP)})
    for value, name, distribution in points:
        try:
            plugin = metadata.EntryPoint(name, value, GROUP).load()
            if not isinstance(plugin, Plugin):
                raise UsageError("plugin-broken", f"{distribution}: {value} is not a Plugin")
            registry.add(plugin, distribution)
        except (ImportError, AttributeError, UsageError) as error:
            registry.problems.append(f"{distribution} ({value}): {error}")
    return registry


def _distribution(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


_override: list[Registry] = []
_loaded: set[str] = set()  # names of the custom layers whose functions have been called


def load_custom_layers() -> None:
    """Call what registers custom layers, ours and plugins', each once.

    Raises:
        UsageError: ``plugin-broken``, and what a registration is refused with.
    """
    for name, provider in registry().items["custom_layers"].items():
        if name not in _loaded:
            provider.load()()
            _loaded.add(name)


def registry() -> Registry:
    """The registry in force."""
    return _override[-1] if _override else _global()


@contextmanager
def temporarily(plugin: Plugin, distribution: str = "a test") -> Iterator[Registry]:
    """Within the block, what the plugin offers is registered too."""
    base = registry()
    extended = Registry({kind: dict(items) for kind, items in base.items.items()}, list(base.problems))
    extended.add(plugin, distribution)
    _override.append(extended)
    try:
        yield extended
    finally:
        _override.pop()
        _loaded.intersection_update(base.items["custom_layers"])


def pass_names() -> list[str]:
    """The names of all passes, sorted."""
    return sorted(registry().items["passes"])


def registered_name(cls: type[Pass]) -> str:
    """The name by which a pass can be asked for: with its plugin's owner in front, where it comes from one."""
    end = f":{cls.__name__}"
    known = registry().items["passes"].items()
    return min((name for name, p in known if p.reference.endswith(end) and p.load() is cls), default=cls.name)


def pass_class(name: str) -> type[Pass]:
    """The class of a pass.

    Raises:
        UsageError: ``pass-unknown``, with the nearest names; ``plugin-broken``.
    """
    provider = registry().items["passes"].get(name)
    if provider is None:
        near = difflib.get_close_matches(name, pass_names(), 3, 0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "`coregraft passes` lists them"
        raise UsageError("pass-unknown", f'there is no pass "{name}"', hint=hint)
    found = provider.load()
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise UsageError("plugin-broken", f'"{name}" of {provider.distribution} is not a Pass')
    return found

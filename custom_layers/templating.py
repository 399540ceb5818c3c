"""The templates of generated Swift, Metal and Markdown."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


@functools.cache
def template(name: str) -> jinja2.Template:
    """A template of this room; its filter ``line`` makes one line of any text."""
    from importlib import resources

    import jinja2

    text = resources.files("coregraft.custom_layers").joinpath("templates", name).read_text("utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,  # the output is Swift
    )  # fmt: skip
    environment.filters["line"] = lambda value: " ".join(str(value).split())
    return environment.from_string(text)

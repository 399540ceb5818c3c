"""What every command shares: the JSON envelope, errors with exit codes, and quiet output when piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import click

from coregraft.rewriter.errors import CoregraftError

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
OK, FINDINGS = 0, 1


@dataclass
class Outcome:
    """What a command found: the ``result`` of the envelope, how to show it to a person, and the exit code."""

    result: dict[str, Any]
    show: Callable[[], None]
    exit_code: int = OK
    warnings: list[str] = field(default_factory=list)


def finish(name: str, as_json: bool, work: Callable[[], Outcome]) -> NoReturn:
    """Run a command's work, print its outcome, and exit with its code.

    With ``as_json`` one envelope goes to standard output and nothing else does.
    """
    try:
        with quiet_libraries():
            outcome = work()
    except CoregraftError as error:
        fail(name, as_json, error)
    if as_json:
        emit(name, "findings" if outcome.exit_code else "ok", outcome.result, outcome.warnings, None)
    else:
        outcome.show()
        for warning in outcome.warnings:
            click.echo(f"warning: {warning}", err=True)
    sys.exit(outcome.exit_code)


def fail(name: str, as_json: bool, error: CoregraftError) -> NoReturn:
    """Print an error and exit with its code."""
    if as_json:
        emit(name, "error", None, [], error.as_dict())
    else:
        click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)


def emit(command: str, status: str, result: Any, warnings: list[str], error: Any) -> None:
    """Print the envelope."""
    envelope = {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "status": status,
        "result": result,
        "warnings": warnings,
        "error": error,
    }
    click.echo(json.dumps(envelope, indent=2, ensure_ascii=False))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block the libraries underneath neither log nor warn; what matters is in our own report."""
    import logging
    import warnings

    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


@contextmanager
def progress(text: str, *, hidden: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal, nothing when piped; the yielded function changes its text."""
    if hidden or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield lambda message: status.update(message)


def console(width: int) -> Console:
    """Standard output for tables: as wide as the terminal, or of a fixed width when piped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON envelope and nothing else.")

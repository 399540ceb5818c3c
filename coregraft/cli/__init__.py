"""The command line: one module a command, imported when that command runs, so that ``--help`` is immediate."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import click

from coregraft.rewriter.errors import CoregraftError, UsageError

#: Command -> its one-line help. The module of the same name holds ``command``.
COMMANDS = {
    "check": "Find what will go wrong with a model on Apple hardware.",
    "convert": "Convert an ONNX model to a Core ML package.",
    "cut": "Convert a model in parts: at named values, by size, around ops that Core ML lacks.",
    "demo": "Show everything on a small network that needs no download.",
    "explain": "Explain a rule, by its code or name.",
    "lift": "Turn a Core ML package back into ONNX.",
    "passes": "List the passes and rules.",
    "reduce": "Shrink a failing model to the smallest part that still fails.",
    "rewrite": "Rewrite an ONNX model, ONNX to ONNX.",
    "stubs": "Write the Swift package of the ops that Core ML lacks.",
    "verify": "Compare a package with the model it was made from.",
}


class RunInterruptedError(CoregraftError):
    """The user has stopped the command."""

    exit_code: ClassVar[int] = 130  # 128 and the number of SIGINT, as shells have it


class LazyGroup(click.Group):
    """A group that imports a command only when it runs, and whose own errors are told as those of the commands."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            sys.exit(super().main(words, *more, **{**options, "standalone_mode": False}))
        except click.ClickException as error:
            hint = f"`{' '.join(filter(None, ('coregraft', _command_of(words))))} --help` says what it takes"
            _fail(words, UsageError("command-usage", error.format_message(), hint=hint))
        except click.Abort as error:
            if isinstance(error.__cause__, EOFError):  # click takes it for the end of a dialogue; we have none
                raise error.__cause__ from None
            _fail(words, RunInterruptedError("run-interrupted", "stopped; nothing was left half-written"))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"coregraft.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from error


def _command_of(words: Sequence[str]) -> str:
    return next((word for word in words if word in COMMANDS), "")


def _fail(words: Sequence[str], error: CoregraftError) -> NoReturn:
    from coregraft.cli.envelope import fail

    fail(_command_of(words), "--json" in words, error)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coregraft", prog_name="coregraft")
def main() -> None:
    """A linter and compiler that takes ONNX models to Apple's Core ML.

    Exit codes: 0 done, 1 findings, 2 usage, 3 input rejected, 4 cannot be converted.
    """


def run(argv: list[str] | None = None) -> Any:
    """Call the command line from Python; raises SystemExit."""
    return main(args=argv)

"""The application, the registration of commands, and the options and error lines that they share."""

from __future__ import annotations

import functools
import inspect
import logging
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from phonemi import __version__, progress
from phonemi.devices import launched_processes
from phonemi.errors import ConfigError
from phonemi.interruption import Interrupted

if TYPE_CHECKING:
    from phonemi.stages.run import Run

WIDEST_HELP = 80  # columns

# The commands as the help lists them, in the order in which most people want them.
GROUPS = {
    "Recordings": ("enhance", "invert", "listen", "judge", "demo", "serve"),
    "Research": (
        *("quickstart", "prepare", "align", "pretrain", "information", "aggregate", "train", "evaluate"),
        *("report", "table", "status", "figure", "config"),
    ),
    "Tools": ("export", "convert", "doctor", "bench"),
}
TRAININGS = ("pretrain", "aggregate", "train")  # which several processes can share

# Of options and arguments that may be left out.
Text = str | None
Texts = list[str] | None
File = Path | None

Purpose = StrEnum("Purpose", ["listening", "recognition"])  # as in enhancers/options.py, for typer

logger = logging.getLogger("phonemi")


def read_shard(text: str | None) -> tuple[int, int] | None:
    """ "2/8" as (2, 8); None for None. A usage error for anything else.

    >>> read_shard("2/8")
    (2, 8)
    """
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) == 2 and all(part.isascii() and part.isdecimal() for part in parts):
        number, count = map(int, parts)
        if 1 <= number <= count:
            return number, count
    raise typer.BadParameter(f"--shard is {text!r}: expected I/N with I from 1 to N, such as 2/8")


class Commands(TyperGroup):
    """All commands: help has them in groups and fits the terminal, and an interruption says how to go on."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        # Without this, the help takes 50 columns even on a terminal of 40.
        columns = min(WIDEST_HELP, shutil.get_terminal_size().columns)
        return super().make_context(info_name, args, parent, terminal_width=columns, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:  # here, because typer would turn it into an exit without a word
            sys.exit(explain_interruption(interrupt))

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for names in GROUPS.values() for name in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))  # the same in all groups, so that the texts stand in one column
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), self.commands[name].get_short_help_str(500)) for name in names])


class Command(TyperCommand):
    """One command: its arguments are named without braces and without their types in Python, which typer adds."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.translate({ord("{"): None, ord("}"): None}) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            parameters = [parameter for parameter in self.get_params(ctx) if parameter.param_type_name == kind]
            records = [record for parameter in parameters if (record := parameter.get_help_record(ctx))]
            if kind == "argument":
                records = [(name.partition(" <")[0], text) for name, text in records]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the tables of rich cut the names of options in narrow terminals
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech enhancement that keeps the words.\n\n\b\nExample:\nphonemi quickstart",
)


def _print_version(requested: bool) -> None:
    """Print the version and exit."""
    if requested:
        typer.echo(f"phonemi {__version__}")
        raise typer.Exit


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress, notes and warnings; results and errors stay.")
]


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="PHONEMI_DEBUG", help="Show where an error happened (its traceback).")
    ] = False,
    quiet: Quiet = False,
) -> None:
    # Options of phonemi itself; the help of the application stands where it is made.
    if quiet:
        context.with_resource(progress.quiet())  # until the command has ended
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    logger.handlers = [logging.StreamHandler(sys.stderr)] if debug else []


RunFolder = Annotated[
    Path, typer.Option("--run", "-r", metavar="RUN", help="Run folder, with results, checkpoints and report.")
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", "-c", metavar="FILE", help="YAML file or preset; default: RUN/config.yaml if it exists."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one setting (see `phonemi config`); repeatable."),
]


Function = Callable[..., None]


def command(name: str, example: str, help_text: str | None = None) -> Callable[[Function], Function]:
    """Register a function as a command with `--quiet` besides its options; its help is its docstring, or `help_text`.

    The example is printed below the help, to copy: in lines of up to 38 columns, to fit a terminal of 40.
    """

    def register(function: Function) -> Function:
        text = help_text or function.__doc__ or ""
        signature = inspect.signature(function, eval_str=True)
        quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
        parameters = [*signature.parameters.values(), quiet]

        @functools.wraps(function)
        def run(*, quiet: bool, **options: Any) -> None:
            _require_one_process(name)
            with progress.quiet() if quiet else nullcontext():
                function(**options)

        # What typer reads.
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, cls=Command, short_help=text, help=f"{text}\n\n\b\nExample:\n{example}")(run)
        return function

    return register


def _require_one_process(name: str) -> None:
    """Raise a ConfigError where `torchrun` has started several and the command is no training."""
    launched = launched_processes()
    if launched.count > 1 and name not in TRAININGS:
        if launched.rank > 0:
            sys.exit(2)  # process 0 says why
        raise ConfigError(
            f"phonemi {name} works in one process: start it without torchrun, which is for {', '.join(TRAININGS)}"
        )


@contextmanager
def open_run(folder: Path, config: str | None, overrides: list[str] | None, save: bool = True) -> Iterator[Run]:
    """Open the run in `folder` with the given configuration, or the one saved there, and `overrides` applied to it.

    Where the block fails before it has any result, a folder that was not there is not there afterwards.
    """
    from phonemi.config import load_config
    from phonemi.results.run_folder import removing_empty_run
    from phonemi.stages.run import run_of_all

    saved, options = folder / "config.yaml", ""
    source = config or (saved if saved.exists() else None)
    if not saved.exists():  # nor will it be after a failure: the command that an error names needs them
        words = [*(["--config", config] if config else []), *(w for o in overrides or () for w in ("--set", o))]
        options = f" {shlex.join(words)}" if words else ""
    with removing_empty_run(folder) if launched_processes().rank == 0 else nullcontext():
        yield run_of_all(folder, lambda: load_config(source, overrides or ()), progress.Progress(), save, options)


def explain(text: str, code: int) -> int:
    """Print what happened on standard error, in one line, and return the exit code `code`."""
    print("phonemi:", " ".join(text.split()), file=sys.stderr)
    return code


def explain_interruption(interrupt: KeyboardInterrupt) -> int:
    """Say how to go on after Ctrl-C or another signal; gives the exit code."""
    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    cause = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    return explain(f"{cause}; run the same command again to go on", 128 + number)

"""The application, the registration of commands, and the options and error lines that they share."""

from __future__ import annotations

import logging
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from phonemi import __version__
from phonemi.interruption import Interrupted

if TYPE_CHECKING:
    from phonemi.stages.run import Run

WIDEST_HELP = 80  # columns

# Of options and arguments that may be left out.
Text = str | None
Texts = list[str] | None
File = Path | None

logger = logging.getLogger("phonemi")


class Commands(TyperGroup):
    """The group of all commands: help fits the terminal, and an interruption says how to go on."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        # Without this, the help takes 50 columns even on a terminal of 40.
        columns = min(WIDEST_HELP, shutil.get_terminal_size().columns)
        return super().make_context(info_name, args, parent, terminal_width=columns, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:  # here, because typer would turn it into an exit without a word
            sys.exit(explain_interruption(interrupt))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
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


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="PHONEMI_DEBUG", help="Show where an error happened (its traceback).")
    ] = False,
) -> None:
    # Options of phonemi itself; the help of the application stands where it is made.
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
    """Register a function as a command; its help is its docstring, or `help_text`.

    The example is printed below the help, to copy: in lines of up to 38 columns, to fit a terminal of 40.
    """

    def register(function: Function) -> Function:
        text = help_text or function.__doc__ or ""
        return app.command(name, short_help=text, help=f"{text}\n\n\b\nExample:\n{example}")(function)

    return register


@contextmanager
def open_run(folder: Path, config: str | None, overrides: list[str] | None, save: bool = True) -> Iterator[Run]:
    """Open the run in `folder` with the given configuration, or the one saved there, and `overrides` applied to it.

    Where the block fails before it has any result, a folder that was not there is not there afterwards.
    """
    from phonemi.config import load_config
    from phonemi.progress import Progress
    from phonemi.results.run_folder import removing_empty_run
    from phonemi.stages.run import Run

    saved, options = folder / "config.yaml", ""
    source = config or (saved if saved.exists() else None)
    if not saved.exists():  # nor will it be after a failure: the command that an error names needs them
        words = [*(["--config", config] if config else []), *(w for o in overrides or () for w in ("--set", o))]
        options = f" {shlex.join(words)}" if words else ""
    with removing_empty_run(folder):
        yield Run(folder, load_config(source, overrides or ()), Progress(), save, options)


def explain(text: str, code: int) -> int:
    """Print what happened on standard error, in one line, and return the exit code `code`."""
    print("phonemi:", " ".join(text.split()), file=sys.stderr)
    return code


def explain_interruption(interrupt: KeyboardInterrupt) -> int:
    """Say how to go on after Ctrl-C or another signal; gives the exit code."""
    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    cause = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    return explain(f"{cause}; run the same command again to go on", 128 + number)

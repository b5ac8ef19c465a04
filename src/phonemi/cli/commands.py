"""What every command shares: the application, how a command is registered, options of runs, one-line errors."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from phonemi import __version__
from phonemi.interruption import Interrupted

if TYPE_CHECKING:
    from phonemi.stages.run import Run

WIDEST_HELP = 80

logger = logging.getLogger("phonemi")


class Commands(TyperGroup):
    """The commands, with help as wide as the terminal and an interruption that says how to go on."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        # By itself the help takes 50 columns even on a terminal of 40.
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
    rich_markup_mode=None,  # its tables cut the names of options in narrow terminals
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech enhancement that keeps the words.\n\n\b\nExample:\nphonemi quickstart",
)


def _version(asked: bool) -> None:
    """Say it and stop."""
    if asked:
        typer.echo(f"phonemi {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="PHONEMI_DEBUG", help="Show where an error happened (its traceback).")
    ] = False,
) -> None:
    # Options of phonemi itself; the help of the application stands where it is made.
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    logger.handlers = [logging.StreamHandler(sys.stderr)] if debug else []


RunFolder = Annotated[
    Path, typer.Option("--run", "-r", metavar="RUN", help="Folder of the run: results, checkpoints, report.")
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="YAML file or preset name. Default: RUN/config.yaml if it exists."
    ),
]
Overrides = Annotated[list[str], typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one value; repeatable.")]


def command(name: str, example: str, text: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command. Its help is `text`, or its docstring, and an example to copy: lines of up to 38 columns."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        said = text or function.__doc__ or ""
        return app.command(name, short_help=said, help=f"{said}\n\n\b\nExample:\n{example}")(function)

    return register


def open_run(folder: Path, config: str | None, overrides: list[str], save: bool = True) -> Run:
    """The run in `folder` with its configuration: the given one, or the one saved there, with what is overridden."""
    from phonemi.config import load_config
    from phonemi.progress import Progress
    from phonemi.stages.run import Run

    saved = folder / "config.yaml"
    source = config or (saved if saved.exists() else None)
    return Run(folder, load_config(source, overrides), Progress(), save)


def explain(text: str, code: int) -> int:
    """Say on standard error what happened, in one line; gives the exit code back."""
    print("phonemi:", " ".join(text.split()), file=sys.stderr)
    return code


def explain_interruption(interrupt: KeyboardInterrupt) -> int:
    """Say how to go on after Ctrl-C or another signal; gives the exit code."""
    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    cause = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    return explain(f"{cause}; run the same command again to go on", 128 + number)

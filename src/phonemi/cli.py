"""Command line -> calls of the stages: options and one-line errors, no logic.

Exit codes: 0 done, 1 the work failed (one line says why), 2 wrong usage, 130 interrupted (run it again to go on).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phonemi.errors import PhonemiError

if TYPE_CHECKING:
    from phonemi.stages.run import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech enhancement that keeps the words. Start with `phonemi quickstart`.",
)

RunFolder = Annotated[Path, typer.Option("--run", "-r", help="Folder of the run: results, checkpoints, report.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", "-c", help="YAML file or preset name. Default: RUN/config.yaml if it exists.")
]
Overrides = Annotated[list[str], typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one value; repeatable.")]


def _open(folder: Path, config: str | None, overrides: list[str]) -> Run:
    from phonemi.config import load_config
    from phonemi.progress import Progress
    from phonemi.stages.run import Run

    saved = folder / "config.yaml"
    source = config or (saved if saved.exists() else None)
    return Run(folder, load_config(source, overrides), Progress())


def _stage(name: str, text: str) -> Callable[[RunFolder, ConfigFile, Overrides], None]:
    """A command that runs one stage on a run folder."""

    @app.command(name=name, help=f"{text}\n\nExample: `phonemi {name} --run OUT --config runs/real.yaml`")
    def command(run: RunFolder, config: ConfigFile = None, set_: Overrides = []) -> None:  # noqa: B006
        import importlib

        importlib.import_module(f"phonemi.stages.{name}").run(_open(run, config, set_))

    return command


@app.command()
def quickstart(
    run: Annotated[Path, typer.Option("--run", "-r", help="Folder for everything it makes.")] = Path("quickstart"),
    set_: Overrides = [],  # noqa: B006
) -> None:
    """The whole paper in miniature, offline: synthetic speech, encoder, information, enhancers, report.

    Example: `phonemi quickstart --run quickstart`
    """
    from phonemi.stages import quickstart as stage

    stage.run(run, set_)


@app.command()
def prepare(
    corpus: Annotated[str, typer.Argument(help="librispeech, esc50, folder or synthetic.")],
    folder: Annotated[Path, typer.Argument(help="Where the corpus is, or will be.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Manifest to write.")] = Path("manifest.jsonl"),
    download: Annotated[bool, typer.Option(help="Fetch the corpus into the folder first.")] = False,
    alignments: Annotated[
        list[Path], typer.Option(help="CTM file, or folder of TextGrids or HTK labels; repeatable.")
    ] = [],  # noqa: B006
    subset: Annotated[list[str], typer.Option(help="librispeech: only these subsets; repeatable.")] = [],  # noqa: B006
    table: Annotated[Path | None, typer.Option(help="folder: CSV with path, speaker and text columns.")] = None,
    where: Annotated[list[str], typer.Option(help="folder: keep rows such as 'dnsmos_bak>=3.5'; repeatable.")] = [],  # noqa: B006
    clean: Annotated[Path | None, typer.Option(help="folder: clean counterparts of noisy recordings.")] = None,
    utterances: Annotated[int | None, typer.Option(help="synthetic: how many utterances.")] = None,
    seed: Annotated[int | None, typer.Option(help="synthetic: seed.")] = None,
) -> None:
    """A corpus on disk (or downloaded) to a validated manifest.

    Example: `phonemi prepare librispeech LibriSpeech --alignments phones.ctm -o speech.jsonl`
    """
    from phonemi.stages import prepare as stage

    options = {"alignments": alignments, "subsets": subset, "table": table, "where": where}
    options |= {"clean": clean, "utterances": utterances, "seed": seed}
    given = {name: value for name, value in options.items() if value not in (None, [])}
    stage.run(corpus, folder, output, download, given)


@app.command()
def align(
    manifest: Annotated[Path, typer.Argument(help="Manifest whose recordings have a transcript.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: the manifest itself.")] = None,
) -> None:
    """Phone alignments for recordings with a transcript, by pocketsphinx; says what it could not align.

    Example: `phonemi align speech.jsonl -o aligned.jsonl`
    """
    from phonemi.stages import align as stage

    stage.run(manifest, output or manifest)


_stage("pretrain", "Train the run's own encoder: masked prediction of units.")
_stage("information", "MI of phones and hidden states, by layer and SNR (Fig. 1).")
_stage("aggregate", "Pre-train the linguistic aggregations on phones (Fig. 2, 3).")


@app.command()
def train(
    run: RunFolder,
    config: ConfigFile = None,
    set_: Overrides = [],  # noqa: B006
    row: Annotated[str | None, typer.Option(help="Only this row, for instance ws-linguistic+log1p.")] = None,
) -> None:
    """Train the enhancers: every row of the configuration, or one (Tables 1, 2).

    Example: `phonemi train --run OUT --row ws-linguistic`
    """
    from phonemi.stages import train as stage

    stage.run(_open(run, config, set_), row)


_stage("evaluate", "SI-SDR, STOI, PESQ, WER and MI of every row, with intervals.")


@app.command()
def enhance(
    inputs: Annotated[list[Path], typer.Argument(help="Recordings or folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File (for one input) or folder.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Folder of a trained row, or hub id.")],
    overwrite: Annotated[bool, typer.Option(help="Enhance again what is already there.")] = False,
) -> None:
    """Enhance recordings: same sample rate, channels and length out; a folder keeps its tree.

    Example: `phonemi enhance noisy/ -o clean/ --model OUT/rows/ws-linguistic/model`
    """
    from phonemi.inference import enhance_files, plan
    from phonemi.models.enhancer import Enhancer
    from phonemi.progress import Progress

    pairs = plan(inputs, output)
    summary = enhance_files(Enhancer.from_pretrained(model), pairs, Progress(), skip_existing=not overwrite)
    for path, reason in summary.failed.items():
        typer.echo(f"failed: {reason if str(path) in reason else f'{path}: {reason}'}", err=True)
    typer.echo(f"phonemi: {summary.line()}", err=True)
    if summary.failed:
        raise typer.Exit(1)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of the run.")]) -> None:
    """One self-contained HTML page of a run: figures, tables, players.

    Example: `phonemi report OUT`
    """
    from phonemi.markdown import write_markdown
    from phonemi.report import build_report
    from phonemi.stages import showcase

    if not run.is_dir():
        raise PhonemiError(f"{run} is no run folder")
    if (run / "metrics.json").exists():
        showcase.run(_open(run, None, []))
    write_markdown(run)
    typer.echo(build_report(run))


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_explain("interrupted; run the same command again to go on", 130))
    except PhonemiError as error:
        sys.exit(_explain(" ".join(str(error).split()), 1))
    except OSError as error:  # disk full, permissions, a name too long
        place = f": {error.filename}" if error.filename else ""
        sys.exit(_explain(f"{error.strerror or error}{place}", 1))


def _explain(text: str, code: int) -> int:
    print(f"phonemi: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()

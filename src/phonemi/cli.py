"""Command line -> calls of the stages: options and one-line errors, no logic.

Exit codes: 0 done, 1 the work failed (one line says why), 2 wrong usage, 130 interrupted (run it again to go on).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from phonemi.errors import PhonemiError, kept_traceback

if TYPE_CHECKING:
    from phonemi.stages.run import Run

WIDEST_HELP = 80


class Commands(TyperGroup):
    """The commands, with help as wide as the terminal and an interruption that says how to go on."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        # By itself the help takes 50 columns even on a terminal of 40.
        columns = min(WIDEST_HELP, shutil.get_terminal_size().columns)
        return super().make_context(info_name, args, parent, terminal_width=columns, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # here, because typer would turn it into an exit without a word
            sys.exit(_explain("interrupted; run the same command again to go on", 130))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options in narrow terminals
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech enhancement that keeps the words.\n\n\b\nExample:\nphonemi quickstart",
)

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


def _command(name: str, example: str, text: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command. Its help is `text`, or its docstring, and an example to copy: lines of up to 38 columns."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        said = text or function.__doc__ or ""
        return app.command(name, short_help=said, help=f"{said}\n\n\b\nExample:\n{example}")(function)

    return register


def _stage(name: str, text: str) -> None:
    """A command that runs one stage on a run folder."""

    @_command(name, f"phonemi {name} --run OUT \\\n  --config runs/real.yaml", text)
    def command(run: RunFolder, config: ConfigFile = None, set_: Overrides = []) -> None:  # noqa: B006
        import importlib

        importlib.import_module(f"phonemi.stages.{name}").run(_open(run, config, set_))


def _open(folder: Path, config: str | None, overrides: list[str], save: bool = True) -> Run:
    from phonemi.config import load_config
    from phonemi.progress import Progress
    from phonemi.stages.run import Run

    saved = folder / "config.yaml"
    source = config or (saved if saved.exists() else None)
    return Run(folder, load_config(source, overrides), Progress(), save)


@_command("quickstart", "phonemi quickstart --run quickstart")
def quickstart(
    run: Annotated[Path, typer.Option("--run", "-r", metavar="RUN", help="Folder for everything it makes.")] = Path(
        "quickstart"
    ),
    set_: Overrides = [],  # noqa: B006
) -> None:
    """The whole paper in miniature, offline: synthetic speech, information, enhancers, report."""
    from phonemi.stages import quickstart as stage

    stage.run(run, set_)


@_command(
    "prepare", "phonemi prepare librispeech \\\n  LibriSpeech -o speech.jsonl \\\n  --alignments alignments/phones.ctm"
)
def prepare(
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="librispeech, voicebank-demand, esc50, musan, folder, synthetic.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the corpus is, or will be.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Manifest to write.")] = Path(
        "manifest.jsonl"
    ),
    download: Annotated[bool, typer.Option("--download", help="Fetch the corpus into the folder first.")] = False,
    alignments: Annotated[
        list[Path],
        typer.Option(
            metavar="PATH", help="CTM file, folder of TextGrids or HTK labels, zip of TextGrids, or table; repeatable."
        ),
    ] = [],  # noqa: B006
    subset: Annotated[
        list[str], typer.Option(metavar="NAME", help="librispeech: only these subsets; repeatable.")
    ] = [],  # noqa: B006
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="voicebank-demand: train, validation or test; default test.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="NAME", help="musan: noise, music or speech; default noise.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="folder: CSV with path, speaker and text columns.")
    ] = None,
    where: Annotated[
        list[str], typer.Option(metavar="TEST", help="folder: keep rows such as 'bak>=3.5', 'speaker!='; repeatable.")
    ] = [],  # noqa: B006
    clean: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="folder: clean counterparts of noisy recordings.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option(metavar="FOLD", help="folder: noise, all of this cross-validation fold.")
    ] = None,
    utterances: Annotated[int | None, typer.Option(metavar="COUNT", help="synthetic: how many utterances.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="SEED", help="synthetic: seed.")] = None,
) -> None:
    """A corpus on disk (or downloaded) to a validated manifest."""
    from phonemi.stages import prepare as stage

    options = {"alignments": alignments, "subset": subset, "table": table, "where": where}
    options |= {"split": split, "part": part, "clean": clean, "fold": fold, "utterances": utterances, "seed": seed}
    given = {name: value for name, value in options.items() if value not in (None, [])}
    stage.run(corpus, folder, output, download, given)


@_command("align", "phonemi align speech.jsonl \\\n  -o aligned.jsonl")
def align(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest whose recordings need phones.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: the manifest itself.")
    ] = None,
    decode: Annotated[
        bool,
        typer.Option(
            "--decode",
            help="Recordings without a transcript: decode their phones with a phone loop; less accurate.",
        ),
    ] = False,
) -> None:
    """Phone alignments for recordings with a transcript, by pocketsphinx; says what it could not align."""
    from phonemi.stages import align as stage

    stage.run(manifest, output or manifest, decode)


_stage("pretrain", "Train the run's own encoder: masked prediction of units.")


@_command("information", "phonemi information --model mini \\\n  --speech speech.jsonl \\\n  --noise noise.jsonl")
def information(
    run: RunFolder = Path("information"),
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="Shipped name, folder or hub id. New run: mini."),
    ] = None,
    speech: Annotated[
        list[str], typer.Option(metavar="MANIFEST", help="Speech with phones; repeatable. New run: synthetic.")
    ] = [],  # noqa: B006
    noise: Annotated[list[str], typer.Option(metavar="MANIFEST", help="Noise with folds; repeatable.")] = [],  # noqa: B006
    config: ConfigFile = None,
    set_: Overrides = [],  # noqa: B006
) -> None:
    """MI of phones and hidden states, by layer and SNR (Fig. 1)."""
    from phonemi.files import read_json
    from phonemi.progress import Progress
    from phonemi.stages import corpus
    from phonemi.stages import information as stage

    options = {"representation": model, "data.speech": speech, "data.noise": noise}
    settings = [corpus.as_setting(key, value) for key, value in options.items() if value] + set_
    if config is None and not (run / "config.yaml").exists():
        settings = corpus.new_run(run, settings, Progress())
    stage.run(_open(run, config, settings))
    result = run / stage.RESULT
    typer.echo(stage.as_text(read_json(result), shutil.get_terminal_size().columns))
    typer.echo(result)


_stage("aggregate", "Pre-train the linguistic aggregations on phones (Fig. 2, 3).")


@_command("train", "phonemi train --run OUT \\\n  --row ws-linguistic")
def train(
    run: RunFolder,
    config: ConfigFile = None,
    set_: Overrides = [],  # noqa: B006
    row: Annotated[
        str | None, typer.Option(metavar="ROW", help="Only this row, for instance ws-linguistic+log1p.")
    ] = None,
) -> None:
    """Train the enhancers: every row of the configuration, or one (Tables 1, 2)."""
    from phonemi.stages import train as stage

    stage.run(_open(run, config, set_), row)


_stage("evaluate", "SI-SDR, STOI, PESQ, WER and MI of every row, with intervals.")


@_command("enhance", "phonemi enhance noisy.wav -o clean.wav")
def enhance(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Recordings or folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="File (for one input) or folder.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="Shipped name, folder of a trained row, or hub id.")
    ] = "default",
    attenuation_limit_db: Annotated[
        float | None,
        typer.Option(metavar="DB", min=0, help="Take at most this much off any frequency; default as the model."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Enhance again what is already there.")] = False,
) -> None:
    """Enhance recordings: same sample rate, channels and length out; a folder keeps its tree."""
    from phonemi.inference import enhance_files, plan
    from phonemi.models.enhancer import Enhancer
    from phonemi.progress import Progress

    pairs = plan(inputs, output)
    enhancer = Enhancer.from_pretrained(model)
    if attenuation_limit_db is not None:
        enhancer.mask_enhancer.attenuation_limit_db = attenuation_limit_db
    summary = enhance_files(enhancer, pairs, Progress(), skip_existing=not overwrite)
    failed = [reason if str(path) in reason else f"{path}: {reason}" for path, reason in summary.failed.items()]
    if len(pairs) == len(failed) == 1:
        raise PhonemiError(failed[0])
    for reason in failed:
        typer.echo(f"failed: {reason}", err=True)
    typer.echo(f"phonemi: {summary.line()}", err=True)
    if failed:
        raise typer.Exit(1)


@_command("table", "phonemi table 1 --out TABLES \\\n  --scale mini --manifests FOLDER")
def table(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="1 or 2.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of the table and of its runs.")],
    scale: Annotated[
        str, typer.Option(metavar="SCALE", help="paper, or mini: the same code on little data.")
    ] = "paper",
    encoder: Annotated[
        list[str], typer.Option(metavar="MODEL", help="hubert, wavlm, wav2vec2, or any other; repeatable.")
    ] = [],  # noqa: B006
    manifests: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the manifests of the preset are. mini: synthetic speech."),
    ] = None,
    set_: Overrides = [],  # noqa: B006
) -> None:
    """A table of the paper, row by row, beside what is printed; run it again to go on."""
    from phonemi.stages import table as stage

    typer.echo(stage.run(number, out, scale, encoder, manifests, set_).read_text(encoding="utf-8"))


@_command("figure", "phonemi figure 1a TABLES \\\n  --out figures")
def figure(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="1a, 1b, 1c, 2 or 3.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs, or the folder of a table.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where PNG and SVG go.")] = Path("figures"),
) -> None:
    """A figure of the paper from the results of finished runs."""
    from phonemi.figures import draw

    for path in draw(number, runs, out):
        typer.echo(path)


@_command("report", "phonemi report OUT")
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")]) -> None:
    """One self-contained HTML page of a run: figures, tables, players."""
    from phonemi.markdown import write_markdown
    from phonemi.report import build_report
    from phonemi.stages import showcase

    if not run.is_dir():
        raise PhonemiError(f"{run} is no run folder")
    if (run / "metrics.json").exists():
        showcase.run(_open(run, None, [], save=False))
    write_markdown(run)
    typer.echo(build_report(run))


@_command("bench", "phonemi bench encoder --bf16")
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="encoder, information, aggregation; default all.")
    ] = None,
    encoder: Annotated[str, typer.Option(metavar="TYPE", help="wavlm, hubert or wav2vec2.")] = "wavlm",
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.")] = "auto",
    bf16: Annotated[bool, typer.Option("--bf16", help="Products in bfloat16, both ways.")] = False,
    utterances: Annotated[int, typer.Option(metavar="COUNT", min=1, help="Utterances to encode.")] = 4,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Length of each.")] = 4.0,
) -> None:
    """Speed and memory beside the plain way of the same work; only the ratios mean something."""
    from phonemi.stages import bench as stage

    size = stage.Size(utterances=utterances, seconds=seconds)
    typer.echo(stage.as_text(stage.run(names or [], encoder, size, device, bf16)))


def main() -> None:
    """Entry point: every failure becomes one line and an exit code."""
    try:
        app(prog_name="phonemi")
    except PhonemiError as error:
        sys.exit(_explain(str(error), 1))
    except OSError as error:  # disk full, permissions, a name too long
        place = f": {error.filename}" if error.filename else ""
        sys.exit(_explain(f"{error.strerror or error}{place}", 1))
    except Exception as error:  # ours to mend, or memory ran out: its trace is for a report, not for the screen
        sys.exit(_explain(f"unexpected {type(error).__name__}: {error} (traceback in {kept_traceback()})", 1))


def _explain(text: str, code: int) -> int:
    print("phonemi:", " ".join(text.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    main()

"""Commands of the research: from corpora over runs to tables, figures and reports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from phonemi.cli.commands import ConfigFile, Overrides, RunFolder, command, open_run
from phonemi.errors import PhonemiError


def _stage(name: str, function: str, text: str) -> None:
    """A command that runs one stage on a run folder: a function of its module."""

    @command(name, f"phonemi {name} --run OUT \\\n  --config runs/real.yaml", text)
    def run_stage(run: RunFolder, config: ConfigFile = None, set_: Overrides = []) -> None:  # noqa: B006
        import importlib

        stage = importlib.import_module(f"phonemi.stages.{name}")
        getattr(stage, function)(open_run(run, config, set_))


@command("quickstart", "phonemi quickstart --run quickstart")
def quickstart(
    run: Annotated[Path, typer.Option("--run", "-r", metavar="RUN", help="Folder for everything it makes.")] = Path(
        "quickstart"
    ),
    set_: Overrides = [],  # noqa: B006
) -> None:
    """The whole paper in miniature, offline: synthetic speech, information, enhancers, report."""
    from phonemi.recipes.quickstart import run_quickstart

    run_quickstart(run, set_)


@command(
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


@command("align", "phonemi align speech.jsonl \\\n  -o aligned.jsonl")
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


_stage("pretrain", "pretrain_encoder", "Train the run's own encoder: masked prediction of units.")


@command("information", "phonemi information --model mini \\\n  --speech speech.jsonl \\\n  --noise noise.jsonl")
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
    from phonemi.recipes import corpus
    from phonemi.report.terminal import information_text
    from phonemi.stages import information as stage

    options = {"representation": model, "data.speech": speech, "data.noise": noise}
    settings = [corpus.as_setting(key, value) for key, value in options.items() if value] + set_
    if config is None and not (run / "config.yaml").exists():
        settings = corpus.new_run(run, settings, Progress())
    stage.measure_information(open_run(run, config, settings))
    result = run / stage.RESULT
    typer.echo(information_text(read_json(result), shutil.get_terminal_size().columns))
    typer.echo(result)


_stage("aggregate", "pretrain_aggregations", "Pre-train the linguistic aggregations on phones (Fig. 2, 3).")


@command("train", "phonemi train --run OUT \\\n  --row ws-linguistic")
def train(
    run: RunFolder,
    config: ConfigFile = None,
    set_: Overrides = [],  # noqa: B006
    row: Annotated[
        str | None, typer.Option(metavar="ROW", help="Only this row, for instance ws-linguistic+log1p.")
    ] = None,
) -> None:
    """Train the enhancers: every row of the configuration, or one (Tables 1, 2)."""
    from phonemi.stages.train import train_systems

    train_systems(open_run(run, config, set_), row)


@command("evaluate", "phonemi evaluate --run OUT \\\n  --config runs/real.yaml")
def evaluate(run: RunFolder, config: ConfigFile = None, set_: Overrides = []) -> None:  # noqa: B006
    """SI-SDR, STOI, PESQ, WER and MI of every row, with intervals."""
    from phonemi.files import read_json
    from phonemi.report.markdown import write_markdown
    from phonemi.report.terminal import metrics_text
    from phonemi.stages import evaluate as stage

    stage.evaluate_systems(open_run(run, config, set_))
    typer.echo(metrics_text(read_json(run / stage.RESULT)))
    typer.echo(write_markdown(run))


@command("table", "phonemi table 1 --out TABLES \\\n  --scale mini --manifests FOLDER")
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
    from phonemi.recipes.table import make_table

    typer.echo(make_table(number, out, scale, encoder, manifests, set_).read_text(encoding="utf-8"))


@command("figure", "phonemi figure 1a TABLES \\\n  --out figures")
def figure(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="1a, 1b, 1c, 2 or 3.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs, or the folder of a table.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where PNG and SVG go.")] = Path("figures"),
) -> None:
    """A figure of the paper from the results of finished runs."""
    from phonemi.report.figures import draw

    for path in draw(number, runs, out):
        typer.echo(path)


@command("report", "phonemi report OUT")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of noisy recordings.")],
    enhanced: Annotated[
        Path | None, typer.Argument(metavar="ENHANCED", help="What became of them: the page of `phonemi listen`.")
    ] = None,
) -> None:
    """One self-contained HTML page of a run: figures, tables, players."""
    from phonemi.cli.tools import listen
    from phonemi.report.markdown import write_markdown
    from phonemi.report.results import STAGES
    from phonemi.report.run_page import build_report
    from phonemi.stages import showcase

    if enhanced is not None:
        return listen(run, enhanced)
    if not any((run / name).exists() for name in STAGES):  # nothing is written into a folder that is something else
        raise PhonemiError(f"{run} is no run folder; a page on recordings is made by phonemi report NOISY ENHANCED")
    if (run / "metrics.json").exists():
        try:
            showcase.write_showcase(open_run(run, None, [], save=False))
        except PhonemiError as error:  # a run from elsewhere: its results are here, its data and models need not be
            typer.echo(f"report: the examples are left as they are: {error}", err=True)
    write_markdown(run)
    typer.echo(build_report(run))


@command("bench", "phonemi bench encoder --bf16")
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
    from phonemi.tools import bench as stage

    size = stage.Size(utterances=utterances, seconds=seconds)
    typer.echo(stage.as_text(stage.run(names or [], encoder, size, device, bf16)))

"""Research commands: prepare corpora, run the stages of a run, build the paper's tables, figures and reports."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from phonemi.cli.commands import (
    WIDEST_HELP,
    ConfigFile,
    File,
    Overrides,
    RunFolder,
    Text,
    Texts,
    command,
    open_run,
    read_shard,
)
from phonemi.errors import PhonemiError

Engine = StrEnum("Engine", ["ray"])
Measure = StrEnum(
    "Measure",
    {"mutual_information": "mutual-information", "cn_distance": "cn-distance", "fine_tuning": "fine-tuning"},
)


def _stage(name: str, function: str, help_text: str) -> None:
    """Register a command that calls a function of the stage `name` on a run folder."""

    @command(name, f"phonemi {name} --run OUT \\\n  --config mine.yaml", help_text)
    def run_stage(run: RunFolder, config: ConfigFile = None, set_: Overrides = None) -> None:
        import importlib

        stage = importlib.import_module(f"phonemi.stages.{name}")
        with open_run(run, config, set_) as opened:
            getattr(stage, function)(opened)


@command("quickstart", "phonemi quickstart --run quickstart")
def quickstart(
    run: Annotated[Path, Option("--run", "-r", metavar="RUN", help="Folder for all results.")] = Path("quickstart"),
    set_: Overrides = None,
) -> None:
    """Run the whole paper in miniature on synthetic speech, offline, and write a report."""
    from phonemi.recipes.quickstart import run_quickstart

    run_quickstart(run, set_ or [])


@command(
    "prepare", "phonemi prepare librispeech \\\n  LibriSpeech -o speech.jsonl \\\n  --alignments alignments/phones.ctm"
)
def prepare(
    corpus: Annotated[
        str,
        Argument(
            metavar="CORPUS",
            help="librispeech, voicebank-demand, esc50, musan, folder, synthetic, procedural-noise; with articulatory "
            "tracks: spire-ema, hprc, xrmb, articulatory, articulatory-synthesis.",
        ),
    ],
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Folder of the corpus.")],
    output: Annotated[Path, Option("--output", "-o", metavar="FILE", help="Manifest to write.")] = Path(
        "manifest.jsonl"
    ),
    download: Annotated[bool, Option("--download", help="Download the corpus into FOLDER first.")] = False,
    alignments: Annotated[
        list[Path] | None,
        Option(
            metavar="PATH",
            help="Phone labels: CTM file, folder of TextGrids or HTK labels, zip of TextGrids, or table; repeatable.",
        ),
    ] = None,
    subset: Annotated[Texts, Option(metavar="NAME", help="librispeech: only this subset; repeatable.")] = None,
    split: Annotated[
        Text, Option(metavar="NAME", help="voicebank-demand: train, validation or test (default).")
    ] = None,
    part: Annotated[Text, Option(metavar="NAME", help="musan: noise (default), music or speech.")] = None,
    table: Annotated[
        File, Option(metavar="FILE", help="folder: CSV file with the columns path, speaker and text.")
    ] = None,
    where: Annotated[
        Texts,
        Option(
            metavar="TEST", help="folder: keep only rows of the table with 'bak>=3.5', 'speaker!=', ...; repeatable."
        ),
    ] = None,
    clean: Annotated[
        File, Option(metavar="FOLDER", help="folder: clean versions of the noisy recordings, same names.")
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="folder, voicebank-demand: fail where a recording would be left out.")
    ] = False,
    fold: Annotated[
        int | None, Option(metavar="FOLD", help="folder: cross-validation fold of these noise recordings.")
    ] = None,
    utterances: Annotated[
        int | None, Option(metavar="COUNT", help="synthetic, articulatory-synthesis: number of utterances.")
    ] = None,
    speakers: Annotated[int | None, Option(metavar="COUNT", help="articulatory-synthesis: 1 to 8 (default 8).")] = None,
    processes: Annotated[
        int | None, Option(metavar="COUNT", help="articulatory-synthesis: default: one less than there are cores.")
    ] = None,
    clips: Annotated[
        int | None, Option(metavar="COUNT", help="procedural-noise: clips of every family (default 10).")
    ] = None,
    seed: Annotated[
        int | None, Option(metavar="SEED", help="synthetic, procedural-noise, articulatory-synthesis: random seed.")
    ] = None,
) -> None:
    """Check a corpus and list its recordings in a manifest."""
    from phonemi.stages import prepare as stage

    options: dict[str, object] = {"alignments": alignments, "subset": subset, "table": table, "where": where}
    options |= {"split": split, "part": part, "clean": clean, "fold": fold, "utterances": utterances, "seed": seed}
    options |= {"clips": clips, "strict": strict or None, "speakers": speakers, "processes": processes}
    given = {name: value for name, value in options.items() if value not in (None, [])}
    stage.run(corpus, folder, output, download, given)


@command("align", "phonemi align speech.jsonl \\\n  -o aligned.jsonl")
def align(
    manifest: Annotated[Path, Argument(metavar="MANIFEST", help="Manifest of recordings without phones.")],
    output: Annotated[
        File, Option("--output", "-o", metavar="FILE", help="Manifest to write; default: MANIFEST.")
    ] = None,
    decode: Annotated[
        bool, Option("--decode", help="Guess the phones of recordings without a transcript; many will be wrong.")
    ] = False,
) -> None:
    """Find when each phone of a transcript is spoken (forced alignment by pocketsphinx)."""
    from phonemi.stages import align as stage

    stage.run(manifest, output or manifest, decode)


_stage("pretrain", "pretrain_encoder", "Train an encoder of your own by masked prediction of units.")


@command("information", "phonemi information --model mini \\\n  --speech speech.jsonl \\\n  --noise noise.jsonl")
def information(
    run: RunFolder = Path("information"),
    model: Annotated[
        Text,
        Option("--model", "-m", metavar="MODEL", help="Encoder: name in the package, folder or hub id; default: mini."),
    ] = None,
    speech: Annotated[
        Texts, Option(metavar="MANIFEST", help="Speech with phones; repeatable; default: synthetic speech.")
    ] = None,
    noise: Annotated[Texts, Option(metavar="MANIFEST", help="Noise with folds; repeatable.")] = None,
    measure: Annotated[
        Measure,
        Option(
            metavar="MEASURE",
            help="mutual-information (with the phones, in bits), cn-distance: how far noise moves each layer, or "
            "fine-tuning: what trained rows did to the information in each layer.",
        ),
    ] = Measure.mutual_information,
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Measure the phonetic information in each layer of an encoder, by SNR (Figure 1), or its robustness."""
    from phonemi.progress import Progress
    from phonemi.recipes.quickstart import as_setting, new_run
    from phonemi.report.markdown import write_markdown
    from phonemi.results.cn_distance import CleanNoisyDistances
    from phonemi.results.information import Information
    from phonemi.results.record import read_record
    from phonemi.results.tables import distances_text, fine_tuning_table, information_text
    from phonemi.stages import cn_distance, fine_tuning
    from phonemi.stages import information as stage

    options = {"representation": model, "data.speech": speech, "data.noise": noise}
    settings = [as_setting(key, value) for key, value in options.items() if value] + (set_ or [])
    if config is None and not (run / "config.yaml").exists():
        settings = new_run(run, settings, Progress())
    columns = shutil.get_terminal_size().columns
    if measure == Measure.cn_distance:
        with open_run(run, config, settings) as opened:
            cn_distance.measure_distance(opened)
        typer.echo(distances_text(read_record(run / cn_distance.RESULT, CleanNoisyDistances), columns))
        typer.echo(write_markdown(run))
        return
    if measure == Measure.fine_tuning:
        with open_run(run, config, settings) as opened:
            fine_tuning.measure_fine_tuned(opened)
        before, after = (read_record(run / name, Information) for name in (stage.RESULT, fine_tuning.RESULT))
        typer.echo(fine_tuning_table(before, after).text(columns))
        typer.echo(write_markdown(run))
        return
    with open_run(run, config, settings) as opened:
        stage.measure_information(opened)
    result = run / stage.RESULT
    typer.echo(information_text(read_record(result, Information), columns))
    typer.echo(result)


_stage("aggregate", "pretrain_aggregations", "Pre-train the linguistic aggregations on phones (Figures 2 and 3).")


@command("train", "phonemi train --run OUT \\\n  --row ws-linguistic")
def train(
    run: RunFolder,
    config: ConfigFile = None,
    set_: Overrides = None,
    row: Annotated[Text, Option(metavar="ROW", help="Train this row only, for instance ws-linguistic+log1p.")] = None,
) -> None:
    """Train the enhancers, one for each row of the configuration (Tables 1 and 2)."""
    from phonemi.stages.train import train_systems

    with open_run(run, config, set_) as opened:
        train_systems(opened, row)


@command("evaluate", "phonemi evaluate --run OUT \\\n  --config mine.yaml")
def evaluate(run: RunFolder, config: ConfigFile = None, set_: Overrides = None) -> None:
    """Score every row on the test set: SI-SDR, STOI, PESQ, WER and MI, with intervals."""
    from phonemi.report.markdown import write_markdown
    from phonemi.results.evaluation import Evaluation
    from phonemi.results.record import read_record
    from phonemi.results.tables import metrics_table
    from phonemi.stages import evaluate as stage

    with open_run(run, config, set_) as opened:
        stage.evaluate_systems(opened)
    typer.echo(metrics_table(read_record(run / stage.RESULT, Evaluation)).text())
    typer.echo(write_markdown(run))


@command("config", "phonemi config enhance")
def config(
    section: Annotated[
        Text, Argument(metavar="SECTION", help="Section or setting, for instance enhance.steps; default: all.")
    ] = None,
) -> None:
    """Print every setting of a run: meaning, type, default, unit, the paper's value."""
    from phonemi.config.reference import as_text, reference

    typer.echo(as_text(reference(section), min(WIDEST_HELP, shutil.get_terminal_size().columns)))


@command("table", "phonemi table 1 --out TABLES \\\n  --scale mini --manifests FOLDER")
def table(
    number: Annotated[
        str, Argument(metavar="NAME", help="1 or 2 of Han et al. (2026), bsse, feature-norm, or inversion.")
    ],
    out: Annotated[Path, Option("--out", "-o", metavar="OUT", help="Folder for the table and its runs.")],
    scale: Annotated[str, Option(metavar="SCALE", help="paper, or mini: the same code on little data.")] = "paper",
    encoder: Annotated[
        Texts, Option(metavar="MODEL", help="hubert, wavlm, wav2vec2, or any other encoder; repeatable.")
    ] = None,
    manifests: Annotated[
        File,
        Option(
            metavar="FOLDER",
            help="Folder with the manifests that the preset names; default for mini: synthetic speech.",
        ),
    ] = None,
    shard: Annotated[
        Text,
        Option(metavar="I/N", help="One of N launches that share the rows, such as 2/8; the last writes the table."),
    ] = None,
    engine: Annotated[
        Engine | None,
        Option("--on", metavar="ENGINE", help="ray: share the rows on its cluster, or on all CPUs or GPUs here."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Build a table of the paper beside the printed one; run it again to go on."""
    from phonemi.recipes.on_ray import make_table_on_ray
    from phonemi.recipes.table import TableRequest, make_table

    request = TableRequest(number, out, scale, tuple(encoder or ()), manifests, tuple(set_ or ()))
    if engine and shard:
        raise typer.BadParameter("--on shares the rows itself: leave out --shard")
    path = make_table_on_ray(request) if engine else make_table(request, read_shard(shard))
    if path is not None:
        typer.echo(path.read_text(encoding="utf-8"))


@command("status", "phonemi status TABLES")
def status(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Folder of a run, or of a table.")],
) -> None:
    """Show how far runs are, and what every process that works on them is doing, on whichever machine."""
    from phonemi.stages.status import read_status

    for run in read_status(folder):
        for line in run.lines():
            typer.echo(line)


@command("figure", "phonemi figure 1a TABLES \\\n  --out figures")
def figure(
    number: Annotated[str, Argument(metavar="NUMBER", help="1a, 1b, 1c, 2, 3, or cn: robustness of the layers.")],
    runs: Annotated[list[Path], Argument(metavar="RUN", help="Run folders, or the folder of a table.")],
    out: Annotated[Path, Option("--out", "-o", metavar="FOLDER", help="Folder for PNG and SVG.")] = Path("figures"),
) -> None:
    """Draw a figure of the paper from the results of finished runs."""
    from phonemi.report.figures import draw

    for path in draw(number, runs, out):
        typer.echo(path)


@command("report", "phonemi report OUT")
def report(
    run: Annotated[Path, Argument(metavar="RUN", help="Folder of a run, or of noisy recordings.")],
    enhanced: Annotated[
        File, Argument(metavar="ENHANCED", help="Folder of the enhanced recordings: the page of `phonemi listen`.")
    ] = None,
) -> None:
    """Write one HTML page of a run: figures, tables, players."""
    from phonemi.cli.tools import listen
    from phonemi.config import load_config
    from phonemi.progress import Progress
    from phonemi.report.markdown import write_markdown
    from phonemi.report.run_page import build_report
    from phonemi.results.run_folder import STAGES, has_results
    from phonemi.stages import first_stage, showcase

    if enhanced is not None:
        return listen(run, enhanced)
    # Nothing is written into a folder that is not a run.
    if not any((run / name).exists() for name in STAGES):
        raise PhonemiError(f"{run} is no run folder; a page on recordings is made by phonemi report NOISY ENHANCED")
    if not has_results(run):
        saved = run / "config.yaml"
        stage = first_stage(load_config(saved if saved.exists() else None))
        raise PhonemiError(f"{run} has no results to report: run `phonemi {stage} --run {run}` first")
    if (run / "metrics.json").exists():
        try:
            with open_run(run, None, [], save=False) as opened:
                showcase.write_showcase(opened)
        except PhonemiError as error:  # a run from another machine may come without its data and models
            Progress().say(f"report: the examples are left as they are: {error}")
    write_markdown(run)
    typer.echo(build_report(run))


@command("bench", "phonemi bench encoder --bf16")
def bench(
    names: Annotated[
        Texts, Argument(metavar="NAME", help="encoder, information or aggregation; default: all three.")
    ] = None,
    encoder: Annotated[str, Option(metavar="TYPE", help="wavlm, hubert or wav2vec2.")] = "wavlm",
    device: Annotated[str, Option(metavar="DEVICE", help="auto, cpu or cuda.")] = "auto",
    bf16: Annotated[bool, Option("--bf16", help="Multiply in bfloat16 in both implementations.")] = False,
    utterances: Annotated[int, Option(metavar="COUNT", min=1, help="Number of utterances.")] = 4,
    seconds: Annotated[float, Option(metavar="SECONDS", min=0.1, help="Length of each utterance.")] = 4.0,
) -> None:
    """Compare speed and memory with a plain implementation; only the ratios mean something."""
    from phonemi.tools import bench as tool

    size = tool.Size(utterances=utterances, seconds=seconds)
    typer.echo(tool.table(tool.run(names or [], encoder, size, device, bf16)).text())

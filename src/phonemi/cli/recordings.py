"""The commands `phonemi enhance` and `phonemi invert`."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from phonemi.cli.commands import File, Purpose, Text, command, explain, read_shard

if TYPE_CHECKING:
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.inference.plan import Pair, Place
    from phonemi.inference.summary import Summary
    from phonemi.progress import Progress


Device = StrEnum("Device", ["auto", "cpu", "cuda"])
Engine = StrEnum("Engine", ["here", "ray"])
UpperBand = StrEnum("UpperBand", ["attenuate", "remove", "keep"])


@command("enhance", "phonemi enhance noisy.wav -o clean.wav")
def enhance(
    inputs: Annotated[
        list[str],
        Argument(
            metavar="INPUT",
            help="Sound files, tar files of such, folders, patterns such as 'in/**/*.wav', URLs of all these, or - "
            "(standard input).",
        ),
    ],
    output: Annotated[
        str,
        Option(
            "--output", "-o", metavar="PATH", help="Output file (for one input), folder/, URL, or - (standard output)."
        ),
    ],
    model: Annotated[
        str,
        Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="default, whisper-tiny (its encoder is one of the hub), folder of a trained model, or hub id.",
        ),
    ] = "default",
    purpose: Annotated[
        Purpose,
        Option(
            "--for",
            metavar="PURPOSE",
            help="listening, or recognition: leaves some of the noise, or all where the phones can be told.",
        ),
    ] = Purpose.listening,
    encoder: Annotated[
        File, Option(metavar="FOLDER", help="Encoder of the model, where that is one of the hub: from here instead.")
    ] = None,
    device: Annotated[
        Device, Option(metavar="DEVICE", help="auto (a GPU if there is one), cpu or cuda.")
    ] = Device.auto,
    batch_size: Annotated[
        int,
        Option(
            metavar="N", min=1, help="Pass N waveforms (one per channel) through the network together; takes memory."
        ),
    ] = 1,
    chunk_s: Annotated[
        float, Option(metavar="S", min=2, help="Process long files in chunks of at most S seconds; inf: whole files.")
    ] = 30.0,
    attenuation_limit_db: Annotated[
        float | None,
        Option(metavar="DB", min=0, help="Attenuate no frequency by more than DB dB. Default: the limit of the model."),
    ] = None,
    mix: Annotated[
        float,
        Option(
            metavar="SHARE", min=0, max=1, help="Share of enhanced sound in the output; the rest is the noisy sound."
        ),
    ] = 1.0,
    upper_band: Annotated[
        UpperBand, Option(metavar="WHAT", help="Frequencies above 8 kHz: attenuate (as below 8 kHz), remove or keep.")
    ] = UpperBand.attenuate,
    suffix: Annotated[
        str, Option(metavar="TEXT", help="Add TEXT to the name of every output: a.wav becomes aTEXT.wav.")
    ] = "",
    extension: Annotated[
        Text,
        Option("--format", metavar="EXT", help="Output format: wav, flac, ogg, opus, mp3, ... Default: that of INPUT."),
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace outputs that are up to date, and files that phonemi did not make.")
    ] = False,
    removed: Annotated[
        File,
        Option(metavar="FILE", help="Of one recording, write to FILE what was removed: noisy minus enhanced."),
    ] = None,
    shard: Annotated[
        Text,
        Option(metavar="I/N", help="One of N launches that share the recordings, such as 2/8: every one does its own."),
    ] = None,
    engine: Annotated[
        Engine,
        Option(
            "--on", metavar="WHERE", help="here, or ray: on all cores, or by the workers of the cluster at RAY_ADDRESS."
        ),
    ] = Engine.here,
    summary_file: Annotated[
        File, Option("--json", metavar="FILE", help="Write to FILE what became of each recording, and why.")
    ] = None,
    table: Annotated[
        File,
        Option("--summary", metavar="FILE", help="The same as a table, in little memory: .csv, .jsonl or .parquet."),
    ] = None,
) -> None:
    """Enhance recordings. Outputs keep sample rate, channels, length and format; folders keep their tree."""
    from phonemi.devices import choose_device
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.files import write_json
    from phonemi.inference.corpus import enhance_corpus
    from phonemi.inference.plan import is_shard, is_url, share_of_files
    from phonemi.inference.rows import check_kind, writing_rows
    from phonemi.inference.streams import name_streams
    from phonemi.inference.summary import Summary
    from phonemi.progress import Progress

    settings: dict[str, Any] = {"batch_size": batch_size, "chunk_s": chunk_s, "purpose": purpose.value, "mix": mix}
    settings |= {"attenuation_limit_db": attenuation_limit_db, "upper_band": upper_band.value}
    paths = [Path(path) for path in inputs]
    if table is not None:
        check_kind(table)
    if "-" in (*inputs, output) and (engine == Engine.ray or any(map(is_url, (*inputs, output)))):
        raise typer.BadParameter("- takes neither URLs beside it nor --on ray")
    with _planned(inputs, output, suffix, extension) as pairs:
        if (part := read_shard(shard)) is not None:
            pairs = share_of_files(pairs, part)
        if removed is not None:
            if len(pairs) > 1:
                raise typer.BadParameter(f"--removed takes one recording, found {len(pairs)}")
            if engine == Engine.ray or any(is_shard(source) or is_url(source) for source, _ in pairs):
                raise typer.BadParameter("--removed takes one file, and neither a tar file, a URL nor --on ray")
        enhancer = Enhancer.from_pretrained(model, encoder=encoder)
        enhancer.check_purpose(settings["purpose"])
        progress = Progress()
        options = {**settings, "extension": extension, "overwrite": overwrite}
        if engine == Engine.ray:
            from phonemi.inference.on_ray import enhance_on_ray

            use_gpus = None if device == Device.auto else device == Device.cuda
            load = functools.partial(_load, model, encoder, device.value)
            outcomes = enhance_on_ray(load, pairs, progress, use_gpus, **options)
        else:
            enhancer.to(choose_device(device.value))
            options["part"] = shard and shard.replace("/", "-of-")
            options |= {"removed": removed} if removed else {}
            outcomes = enhance_corpus(enhancer, pairs, progress, **options)
        start_s = time.perf_counter()
        summary = Summary(keeps_all=summary_file is not None)
        with writing_rows(table) if table is not None else nullcontext(None) as write_row:
            for outcome in outcomes:
                outcome = name_streams(outcome, paths, output)
                summary.add(outcome)
                if write_row is not None:
                    write_row(outcome)
        summary.time_s = time.perf_counter() - start_s
        _report(summary, progress)
        if summary_file is not None:
            settings = {"model": model, **settings, "device": str(next(enhancer.parameters()).device)}
            write_json(summary_file, summary.to_json(enhancer.name, enhancer.version, settings))
        if summary.totals()["failed"]:
            raise typer.Exit(1)


@contextmanager
def _planned(inputs: list[str], output: str, suffix: str, extension: str | None) -> Iterator[Sequence[Pair]]:
    """The recordings and their outputs, files or URLs, with files in place of standard input and output."""
    from phonemi.inference.plan import is_url, plan
    from phonemi.inference.streams import standard_streams

    if any(map(is_url, (*inputs, output))):
        from phonemi.inference.remote import plan_urls

        yield plan_urls(inputs, output, suffix, extension)
        return
    with standard_streams([Path(path) for path in inputs], output, extension, suffix) as (files, target):
        yield plan(files, target, suffix, extension, shards=True)


def _load(model: str, encoder: Path | None, device: str) -> Enhancer:
    """The model of a worker."""
    from phonemi.devices import choose_device
    from phonemi.enhancers.enhancer import Enhancer

    return Enhancer.from_pretrained(model, encoder=encoder).to(choose_device(device))


def _report(summary: Summary, progress: Progress) -> None:
    """Say what became of the recordings, with the errors on standard error; if the only one failed, only its error."""
    from phonemi.inference.streams import STREAM
    from phonemi.inference.summary import LEFT_OUT

    left_out: dict[str, list[Place]] = {}  # said once for all recordings
    for outcome in summary.outcomes:
        for note in outcome.notes:
            if note.startswith(LEFT_OUT):
                left_out.setdefault(note, []).append(outcome.source)
            else:
                progress.say(f"note: {outcome.source}: {note}")
    for note, (first, *others) in left_out.items():
        more = f" and {len(others)} more" if others else ""
        progress.say(f"note: {first}{more}: {note}")
    failed = [
        reason
        if str(outcome.source) in (reason := outcome.reason or "") or outcome.source == STREAM
        else f"{outcome.source}: {reason}"
        for outcome in summary.of("failed")
    ]
    totals = summary.totals()
    if totals["failed"] == len(failed) == 1 and not totals["done"] and not totals["skipped"]:
        explain(failed[0], 1)
        return
    for reason in dict.fromkeys(failed):
        typer.echo(f"failed: {reason}", err=True)
    if summary.unnamed:
        progress.say(f"note: {summary.unnamed} more recordings failed or have notes: --summary FILE has them all")
    progress.say(f"phonemi: {summary.line()}")


@command("invert", "phonemi invert speech.wav \\\n  -o tracks.csv --page mouth.html")
def invert(
    inputs: Annotated[
        list[Path], Argument(metavar="INPUT", help="Sound files, folders, or patterns such as 'in/**/*.wav'.")
    ],
    output: Annotated[
        str,
        Option(
            "--output", "-o", metavar="PATH", help="Tracks of one recording: .csv, .npz or .TextGrid; of more: folder/."
        ),
    ],
    model: Annotated[
        str,
        Option("--model", "-m", metavar="MODEL", help="articulation, folder of a trained model, or hub id."),
    ] = "articulation",
    encoder: Annotated[
        File, Option(metavar="FOLDER", help="Encoder of the model, where that is one of the hub: from here instead.")
    ] = None,
    device: Annotated[
        Device, Option(metavar="DEVICE", help="auto (a GPU if there is one), cpu or cuda.")
    ] = Device.auto,
    extension: Annotated[
        Text, Option("--format", metavar="EXT", help="Of tracks in a folder: csv (default), npz or TextGrid.")
    ] = None,
    smooth: Annotated[bool, Option("--smooth", help="Smooth the tracks: articulators do not jump.")] = False,
    plot: Annotated[
        File, Option(metavar="FILE", help="Of one recording, draw tracks and spectrogram: .png, .svg or .pdf.")
    ] = None,
    page: Annotated[
        File, Option(metavar="FILE", help="Of one recording, a page with a mouth that moves with the sound.")
    ] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace outputs that are there.")] = False,
) -> None:
    """Recover what the vocal tract does in recordings: tract variables 100 times a second."""
    from phonemi.devices import choose_device
    from phonemi.inversion.inverter import Inverter
    from phonemi.progress import Progress
    from phonemi.tools.invert import draw_recording, invert_recordings, plan_tracks

    pairs = plan_tracks(inputs, output, extension)
    if (plot or page) and len(pairs) > 1:
        raise typer.BadParameter(f"--plot and --page take one recording, found {len(pairs)}")
    inverter = Inverter.from_pretrained(model, encoder=encoder).to(choose_device(device.value))
    failed = invert_recordings(inverter, pairs, Progress(), smooth, overwrite)
    for reason in failed:
        explain(reason, 1)
    if failed:
        raise typer.Exit(1)
    if plot or page:
        draw_recording(inverter, pairs[0][0], plot, page, smooth)

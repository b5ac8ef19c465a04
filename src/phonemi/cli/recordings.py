"""Commands for recordings: what needs a trained model and nothing else."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phonemi.cli.commands import command, explain
from phonemi.errors import ConfigError

if TYPE_CHECKING:
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.inference import Summary


class Device(str, Enum):
    """Where the work is done; auto: on a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class UpperBand(str, Enum):
    """What becomes of what is above 8 kHz, see `Enhancer.enhance`."""

    attenuate = "attenuate"
    remove = "remove"
    keep = "keep"


Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT", help="Recordings, folders, patterns such as 'in/**/*.wav', or -.")
]
Output = Annotated[str, typer.Option("--output", "-o", metavar="PATH", help="File (for one input), folder/, or -.")]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="MODEL", help="Shipped name, folder of a trained row, or hub id.")
]


@command("enhance", "phonemi enhance noisy.wav -o clean.wav")
def enhance(
    inputs: Inputs,
    output: Output,
    model: Model = "default",
    device: Annotated[
        Device, typer.Option(metavar="DEVICE", help="auto (a GPU if there is one), cpu or cuda.")
    ] = Device.auto,
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Channels of chunks enhanced together; more need more memory.")
    ] = 1,
    chunk_s: Annotated[
        float, typer.Option(metavar="S", min=2, help="Longest piece of a recording that is enhanced at once; or inf.")
    ] = 30.0,
    attenuation_limit_db: Annotated[
        float | None,
        typer.Option(metavar="DB", min=0, help="Take at most this much off any frequency; default as the model."),
    ] = None,
    mix: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="1 the enhanced sound, 0 the noisy one, or between.")
    ] = 1.0,
    upper_band: Annotated[
        UpperBand, typer.Option(metavar="WHAT", help="Above 8 kHz: attenuate (like what is below), remove or keep.")
    ] = UpperBand.attenuate,
    suffix: Annotated[str, typer.Option(metavar="TEXT", help="Goes into the names: a.wav becomes aTEXT.wav.")] = "",
    extension: Annotated[
        str | None, typer.Option("--format", metavar="EXT", help="Write wav, flac, ogg, opus or mp3; default as INPUT.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Enhance again what is there and no older than INPUT.")
    ] = False,
    summary_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write what became of each recording, and why.")
    ] = None,
) -> None:
    """Enhance recordings: same sample rate, channels, length and format out; a folder keeps its tree."""
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.inference import enhance_files, name_streams, plan, standard_streams
    from phonemi.progress import Progress

    how: dict[str, Any] = {"batch_size": batch_size, "chunk_s": chunk_s, "mix": mix}
    how |= {"attenuation_limit_db": attenuation_limit_db, "upper_band": upper_band.value}
    with standard_streams(inputs, output, extension, suffix) as (files, target):
        pairs = plan(files, target, suffix, extension)
        enhancer = _on_device(Enhancer.from_pretrained(model), device)
        summary = enhance_files(enhancer, pairs, Progress(), overwrite=overwrite, **how)
        summary = name_streams(summary, inputs, output)
        _say(summary)
        if summary_file is not None:
            _write(summary_file, summary, enhancer, {"model": model, **how})
        if summary.of("failed"):
            raise typer.Exit(1)


def _on_device(enhancer: Enhancer, device: Device) -> Enhancer:
    import torch

    if device is Device.cuda and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch finds no GPU here: choose auto or cpu")
    on_gpu = device is not Device.cpu and torch.cuda.is_available()
    return enhancer.to("cuda" if on_gpu else "cpu")


def _say(summary: Summary) -> None:
    """What became of the recordings, on standard error; one that was alone and failed is the line of the command."""
    from phonemi.inference import STREAM

    for outcome in summary.outcomes:
        for note in outcome.notes:
            typer.echo(f"note: {outcome.source}: {note}", err=True)
    failed = [
        reason
        if str(outcome.source) in (reason := outcome.reason or "") or outcome.source == STREAM
        else f"{outcome.source}: {reason}"
        for outcome in summary.of("failed")
    ]
    if len(summary.outcomes) == len(failed) == 1:
        explain(failed[0], 1)
        return
    for reason in failed:
        typer.echo(f"failed: {reason}", err=True)
    typer.echo(f"phonemi: {summary.line()}", err=True)


def _write(file: Path, summary: Summary, enhancer: Enhancer, settings: dict[str, Any]) -> None:
    from phonemi.files import write_json

    where = str(next(enhancer.parameters()).device)
    write_json(file, summary.to_json(enhancer, settings | {"device": where}))

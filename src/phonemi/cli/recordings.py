"""Commands for recordings: what needs a trained model and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phonemi.cli.commands import command
from phonemi.errors import PhonemiError


@command("enhance", "phonemi enhance noisy.wav -o clean.wav")
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

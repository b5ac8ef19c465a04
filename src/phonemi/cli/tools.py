"""Commands around a trained model: hear and see what it does, check the machine, take the model elsewhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from phonemi.cli.commands import WIDEST_HELP, command
from phonemi.errors import PhonemiError


@command("demo", "phonemi demo --port 7860")
def demo(
    model: Annotated[
        list[str], typer.Option("--model", "-m", metavar="MODEL", help="Name, folder or hub id; repeatable.")
    ] = [],  # noqa: B006
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="0.0.0.0: for the whole network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Of the page.")] = 7860,
) -> None:
    """A web page on this machine: hear recordings before and after, see what the model listens to."""
    from phonemi.tools import demo as page

    page.run(model, host, port, typer.echo)


@command("listen", "phonemi listen noisy enhanced \\\n  -o page.html")
def listen(
    noisy: Annotated[Path, typer.Argument(metavar="NOISY", help="Folder of recordings.")],
    enhanced: Annotated[Path, typer.Argument(metavar="ENHANCED", help="Folder of the results: same names.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Page to write.")] = Path(
        "listen.html"
    ),
    clean: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Clean counterparts: SI-SDR, STOI, PESQ.")
    ] = None,
    transcripts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV with path and text: word errors. Default: a .txt beside a file."),
    ] = None,
    whisper: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Whisper that hears the words. Default: pocketsphinx.")
    ] = None,
    suffix: Annotated[str, typer.Option(metavar="TEXT", help="What the results have at the end of the stem.")] = "",
    words: Annotated[
        bool, typer.Option("--words/--no-words", help="Count word errors: slower than all else together.")
    ] = True,
) -> None:
    """One HTML page on a folder of results: table, what got worse first, players, spectrograms."""
    from phonemi.progress import Progress
    from phonemi.report.listening_page import build_listening_page

    typer.echo(build_listening_page(noisy, enhanced, output, clean, transcripts, whisper, suffix, Progress(), words))


@command("export", "phonemi export default -o exported")
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Shipped name, folder of a trained row, or hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the files go.")],
) -> None:
    """Write a model as ONNX, to run without torch."""
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.tools.export import export_onnx

    for path in export_onnx(Enhancer.from_pretrained(model), output):
        typer.echo(path)


@command("doctor", "phonemi doctor")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list of findings.")] = False,
) -> None:
    """What is installed, what is missing, and whether enhancing works on this machine."""
    from phonemi.tools.doctor import ENHANCING, Finding, examine, text

    columns = min(WIDEST_HELP, shutil.get_terminal_size().columns)
    findings: list[Finding] = []
    for finding in examine():
        if not as_json:
            if not findings or findings[-1].section != finding.section:
                typer.echo(finding.section)
            typer.echo(text(finding, columns))
        findings.append(finding)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    last = findings[-1]
    if last.name != ENHANCING or not last.works:
        raise PhonemiError(f"enhancing does not work here: {last.found}")

"""Commands around a trained enhancer: hear and see what it does, export it, check this machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer import Argument, Option

from phonemi.cli.commands import WIDEST_HELP, Overrides, Purpose, command
from phonemi.errors import PhonemiError


@command("demo", "phonemi demo --port 7860")
def demo(
    model: Annotated[
        list[str] | None,
        Option("--model", "-m", metavar="MODEL", help="Enhancer: name in the package, folder or hub id; repeatable."),
    ] = None,
    host: Annotated[
        str, Option(metavar="ADDRESS", help="Address of the page; 0.0.0.0 opens it to the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(metavar="PORT", min=1, max=65535, help="Port of the page.")] = 7860,
) -> None:
    """Open a web page on this machine: drop a recording, hear it enhanced, see the layers used."""
    from phonemi.tools import demo as page

    page.run(model or [], host, port, typer.echo)


@command("serve", "phonemi serve --workers 2")
def serve(
    model: Annotated[
        list[str] | None,
        Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Enhancer: name in the package, folder or hub id, also NAME=MODEL; repeatable, the default first.",
        ),
    ] = None,
    host: Annotated[
        str, Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 opens it to the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(metavar="PORT", min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    workers: Annotated[
        int, Option(metavar="N", min=1, help="Recordings that are enhanced at once, one core each.")
    ] = 1,
    queue: Annotated[int, Option(metavar="N", min=0, help="Further recordings that may be here; then 503.")] = 8,
    max_mb: Annotated[float, Option(metavar="MB", min=0, help="Refuse larger recordings.")] = 100.0,
    max_s: Annotated[float, Option(metavar="S", min=0, help="Refuse longer recordings.")] = 3600.0,
    transfer_s: Annotated[float, Option(metavar="S", min=0, help="Give an upload, and a download, S seconds.")] = 60.0,
    time_limit_s: Annotated[
        float, Option(metavar="S", min=0, help="Stop enhancing a recording after S seconds.")
    ] = 600.0,
) -> None:
    """Enhance recordings that come by HTTP (POST /enhance) and send them back."""
    from phonemi.tools.serve import Limits, run

    run(model or [], host, port, Limits(workers, queue, max_mb, max_s, transfer_s, time_limit_s), typer.echo)


@command("listen", "phonemi listen noisy.wav clean.wav\nphonemi listen noisy enhanced \\\n  -o page.html")
def listen(
    noisy: Annotated[Path, Argument(metavar="NOISY", help="Noisy recording, or a folder of them.")],
    enhanced: Annotated[
        Path, Argument(metavar="ENHANCED", help="Enhanced recording, or a folder with the same names.")
    ],
    output: Annotated[Path, Option("--output", "-o", metavar="FILE", help="HTML page to write.")] = Path("listen.html"),
    clean: Annotated[
        Path | None,
        Option(metavar="PATH", help="Clean recording, or a folder of them, for phones kept, SI-SDR, STOI, PESQ."),
    ] = None,
    transcripts: Annotated[
        Path | None,
        Option(metavar="FILE", help="CSV with path and text, for word errors; default: .txt files."),
    ] = None,
    whisper: Annotated[
        str | None,
        Option(
            metavar="MODEL", help="Whisper for the words, such as base.en; default: large-v3 on a GPU, or pocketsphinx."
        ),
    ] = None,
    suffix: Annotated[
        str, Option(metavar="TEXT", help="Suffix of the enhanced names, as in a-clean.wav for a.wav.")
    ] = "",
    words: Annotated[bool, Option("--words/--no-words", help="Count word errors; slow.")] = True,
    composite: Annotated[
        bool, Option("--composite", help="Compute CSIG, CBAK, COVL and segmental SNR too, where --clean is given.")
    ] = False,
) -> None:
    """Write one HTML page to hear and see what enhancement did; what got worse comes first."""
    from phonemi.progress import Progress
    from phonemi.report.listening_page import build_listening_page

    page = build_listening_page(
        noisy, enhanced, output, clean, transcripts, whisper, suffix, Progress(), words, composite
    )
    typer.echo(page)


@command("judge", "phonemi judge noisy ours theirs \\\n  --clean clean --whisper base.en")
def judge(
    noisy: Annotated[
        Path, Argument(metavar="NOISY", help="Folder of noisy recordings, each with its transcript in a .txt file.")
    ],
    systems: Annotated[
        list[str],
        Argument(
            metavar="SYSTEM",
            help="Folder of enhanced recordings, same names, or an enhancer such as default or "
            "'default --for recognition'; also NAME=SYSTEM.",
        ),
    ],
    run: Annotated[Path, Option("--run", "-r", metavar="RUN", help="Folder for the results.")] = Path("judged"),
    clean: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Folder of clean recordings, same names, for SI-SDR, STOI and PESQ."),
    ] = None,
    table: Annotated[
        Path | None, Option(metavar="FILE", help="CSV file with path, speaker and text, instead of .txt files.")
    ] = None,
    whisper: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            help="Whisper for the words: size such as base.en, folder or hub id; downloaded if it is not here. "
            "Default: large-v3 on a GPU if it is here, otherwise pocketsphinx, a weak judge.",
        ),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Judge enhanced recordings, of any program, by the words that are kept and by sound, with tests."""
    from phonemi.recipes.judge import judge as judge_systems
    from phonemi.recipes.quickstart import as_setting
    from phonemi.report.headlines import headlines
    from phonemi.results.run_folder import read_results
    from phonemi.results.tables import metrics_table

    words = [] if whisper is None else ["evaluate.recogniser=whisper", as_setting("evaluate.whisper", whisper)]
    pages = judge_systems(noisy, systems, run, clean, table, [*words, *(set_ or [])])
    results = read_results(run)
    if results.evaluation is not None:
        typer.echo(f"{metrics_table(results.evaluation).text()}\n")
    for line in [*headlines(results), *pages]:
        typer.echo(line)


@command("export", "phonemi export default -o exported")
def export(
    model: Annotated[str, Argument(metavar="MODEL", help="Enhancer: name in the package, folder or hub id.")],
    output: Annotated[Path, Option("--output", "-o", metavar="FOLDER", help="Folder for the files.")],
    purpose: Annotated[
        Purpose, Option("--for", metavar="PURPOSE", help="listening, or recognition, if it has a network for that.")
    ] = Purpose.listening,
) -> None:
    """Write an enhancer as ONNX files, which run without PyTorch."""
    from phonemi.enhancers.enhancer import Enhancer
    from phonemi.tools.export import export_onnx

    for path in export_onnx(Enhancer.from_pretrained(model), output, purpose=cast(Any, purpose.value)):
        typer.echo(path)


@command("convert", "phonemi convert s3prl/tera -o tera")
def convert(
    checkpoint: Annotated[
        str,
        Argument(
            metavar="CHECKPOINT", help="Checkpoint of S3PRL: file, folder with one, or hub id such as s3prl/tera."
        ),
    ],
    output: Annotated[Path, Option("--output", "-o", metavar="FOLDER", help="Folder for the encoder.")],
) -> None:
    """Turn a checkpoint of Mockingjay or TERA into the folder of an encoder, without running code of it."""
    from phonemi.tools.convert import convert as convert_checkpoint

    encoder = convert_checkpoint(checkpoint, output)
    typer.echo(f"{output}: {encoder.layers} hidden states of {encoder.dim} every {encoder.hop // 16} ms")


@command("doctor", "phonemi doctor")
def doctor(
    as_json: Annotated[bool, Option("--json", help="Print a JSON list of the findings.")] = False,
) -> None:
    """Check this machine: what is installed, what is missing, whether enhancing works."""
    from phonemi.tools.doctor import Finding, examine, text

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
    if not findings[-1].works:
        raise PhonemiError(f"enhancing does not work here: {findings[-1].found}")

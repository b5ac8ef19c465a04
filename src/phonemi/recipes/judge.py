"""Enhancers, or folders of files that others made, judged on noisy recordings of one's own: the words first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phonemi.config import load_config
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.manifest import validate, write_manifest
from phonemi.enhancers.names import name_systems
from phonemi.errors import ConfigError
from phonemi.progress import Progress
from phonemi.recipes.quickstart import as_setting
from phonemi.report.markdown import write_markdown
from phonemi.report.run_page import build_report
from phonemi.results.run_folder import removing_empty_run
from phonemi.stages.evaluate import evaluate_systems
from phonemi.stages.run import Run


def judge(
    noisy: Path,
    systems: Sequence[str],
    run: Path,
    clean: Path | None = None,
    table: Path | None = None,
    overrides: Sequence[str] = (),
) -> list[Path]:
    """Judge every system on all recordings of a folder; what is judged already is not judged again.

    Args:
        noisy: folder of noisy recordings, with transcripts as `prepare_folder` finds them.
        systems: an enhancer (name, folder or hub id) or a folder of enhanced recordings each, also as NAME=SYSTEM.
        run: folder for the results.
        clean: folder of the clean recordings; without it, sound is judged by DNSMOS alone.
        table: CSV file with path, speaker and text of the noisy recordings.
        overrides: KEY=VALUE, other settings of the evaluation.

    Returns:
        The pages that were written: tables in Markdown, and everything in HTML.

    Raises:
        ConfigError: if two systems have the same name, for a setting that does not exist, or if the folder holds
            another run.
        DataError: if there is nothing to judge, or a system lacks a recording.
    """
    named = name_systems(systems)
    progress = Progress()
    recordings, notes = prepare_folder(noisy, clean=clean, table=table)
    for note in notes:
        progress.say(note)
    validate(recordings)
    manifest = run / "recordings.jsonl"
    settings = [
        as_setting("evaluate.recordings" if clean is None else "evaluate.pairs", str(manifest)),
        as_setting("evaluate.systems", named),
        "enhance.rows=[]",
        *overrides,
    ]
    config = load_config(None, settings)
    if (run / "config.yaml").exists() and not manifest.exists():
        raise ConfigError(f"{run} is a run of its own, which would be overwritten: name another folder by --run")
    with removing_empty_run(run):
        write_manifest(manifest, recordings)
        evaluate_systems(Run(run, config, progress))
    return [write_markdown(run), build_report(run)]

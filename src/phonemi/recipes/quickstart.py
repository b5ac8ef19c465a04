"""Runs without data of one's own: a corpus synthesised in RUN/corpus, offline; the whole paper in miniature on it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from phonemi.config import load_config
from phonemi.data.corpora.synthetic import synthesise
from phonemi.enhancers.enhancer import Enhancer
from phonemi.files import read_json
from phonemi.inference.recordings import enhance_file
from phonemi.progress import Progress
from phonemi.report.headlines import headlines
from phonemi.report.markdown import write_markdown
from phonemi.report.run_page import build_report
from phonemi.results.run_folder import read_results
from phonemi.stages import run_stages
from phonemi.stages.run import Run
from phonemi.tables import duration_text

UTTERANCES = 240
SPEAKERS = 12


def run_quickstart(folder: Path, overrides: list[str]) -> None:
    """Run every stage on a corpus made here, report, and enhance a recording; resumable, minutes on two cores."""
    start = time.monotonic()
    progress = Progress()
    config = load_config("quickstart", [*synthetic_data(folder, progress), *overrides])
    run_stages(Run(folder, config, progress))
    write_markdown(folder)
    page = build_report(folder)

    noisy, enhanced = folder / read_json(folder / "examples.json")[0]["files"]["noisy"], folder / "enhanced.flac"
    enhance_file(Enhancer.from_pretrained("default"), noisy, enhanced)
    for sentence in headlines(read_results(folder)):
        print(sentence)
    print(f"\nFinished in {duration_text(time.monotonic() - start)}.")
    print(f"Report:     {page}")
    print(f"Enhanced:   {noisy} -> {enhanced}")
    print("Your files: phonemi enhance YOUR_FILE_OR_FOLDER -o OUT")


def synthetic_data(folder: Path, progress: Progress) -> list[str]:
    """Make RUN/corpus, unless it is there: speech with exact phones, and noise.

    Returns:
        The settings `data.speech` and `data.noise`, for `load_config`.

    Raises:
        MissingExtra: if the speech synthesiser is not installed.
    """
    speech, noise = synthesise(folder / "corpus", utterances=UTTERANCES, speakers=SPEAKERS, seed=0, progress=progress)
    return [as_setting("data.speech", [str(speech)]), as_setting("data.noise", [str(noise)])]


def new_run(folder: Path, overrides: list[str], progress: Progress) -> list[str]:
    """Settings of a run without a configuration: of the shipped encoder, on synthetic speech if none is named.

    Raises:
        ConfigError: for an override that does not fit.
        ModelError: if speech would have to be synthesised for an encoder that cannot be had.
    """
    settings = [as_setting("representation", "mini"), *overrides]
    config = load_config(None, settings)
    if config.data.speech:
        return settings
    if config.representation != "encoder":
        from phonemi.representations.names import load_representation

        load_representation(config.representation)  # now, not after minutes of synthesis
    progress.say(f"no speech is named: {UTTERANCES} synthetic utterances in {folder / 'corpus'}; --speech takes yours")
    return [*synthetic_data(folder, progress), *settings]


def as_setting(key: str, value: str | list[str] | dict[str, str]) -> str:
    """KEY=VALUE as `load_config` takes it, whatever characters the value has.

    >>> as_setting("data.speech", ["a b.jsonl"])
    'data.speech=["a b.jsonl"]'
    """
    return f"{key}={json.dumps(value, ensure_ascii=False)}"

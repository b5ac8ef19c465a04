"""The whole paper in miniature, on synthetic speech: every stage, the report, and one recording enhanced."""

from __future__ import annotations

import time
from pathlib import Path

from phonemi.config import load_config
from phonemi.enhancers.enhancer import Enhancer
from phonemi.files import read_json
from phonemi.inference.recordings import enhance_file
from phonemi.progress import Progress
from phonemi.recipes.corpus import synthetic_data
from phonemi.report.headlines import headlines
from phonemi.report.markdown import write_markdown
from phonemi.report.run_page import build_report
from phonemi.results.run_folder import read_results
from phonemi.stages import run_stages
from phonemi.stages.run import Run


def run_quickstart(folder: Path, overrides: list[str]) -> None:
    """Run every stage on a corpus that is synthesised here; offline, resumable, minutes on two cores."""
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
    print(f"\nFinished in {(time.monotonic() - start) / 60:.1f} minutes.")
    print(f"Report:     {page}")
    print(f"Enhanced:   {noisy} -> {enhanced}")
    print("Your files: phonemi enhance YOUR_FILE_OR_FOLDER -o OUT")

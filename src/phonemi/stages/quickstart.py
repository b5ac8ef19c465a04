"""Nothing -> the whole paper in miniature: synthetic speech, encoder, information, aggregations, enhancers, report."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

from phonemi.config import load_config
from phonemi.data.corpora.synthetic import synthesise
from phonemi.files import read_json
from phonemi.headlines import headlines
from phonemi.inference import enhance_file
from phonemi.markdown import write_markdown
from phonemi.models.enhancer import Enhancer
from phonemi.progress import Progress
from phonemi.report import build_report
from phonemi.results import read_results
from phonemi.stages import aggregate, evaluate, information, pretrain, showcase, train
from phonemi.stages.run import Run

UTTERANCES = 240
SPEAKERS = 12


def run(folder: Path, overrides: list[str]) -> None:
    """Run every stage on a corpus that is synthesised here; offline, resumable, minutes on two cores."""
    start = time.monotonic()
    progress = Progress()
    with progress.task("synthesising speech") as task:

        def show(done: int, total: int) -> None:
            task.total = total
            task.advance(done - task.completed)

        speech, noise = synthesise(folder / "corpus", utterances=UTTERANCES, speakers=SPEAKERS, seed=0, progress=show)
    data = [f"data.{kind}={json.dumps([str(path)])}" for kind, path in (("speech", speech), ("noise", noise))]
    run = Run(folder, load_config("quickstart", [*data, *overrides]), progress)
    for stage in (pretrain, information, aggregate, train, evaluate, showcase):
        stage.run(run)
    write_markdown(folder)
    page = build_report(folder)

    example = read_json(folder / "examples.json")[0]["files"]
    row = run.config.enhance.rows[-1]
    model = folder / "rows" / row / "model"
    enhanced = folder / "enhanced.flac"
    enhance_file(Enhancer.from_pretrained(model), folder / example["noisy"], enhanced)
    for sentence in headlines(read_results(folder)):
        print(sentence)
    print(f"\nFinished in {(time.monotonic() - start) / 60:.1f} minutes.")
    print(f"Report:     {page}")
    print(f"Enhanced:   {folder / example['noisy']} -> {enhanced}")
    print(f"Your files: phonemi enhance YOUR_FILE_OR_FOLDER -o OUT --model {shlex.quote(str(model))}")

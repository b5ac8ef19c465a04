"""Trained rows -> what the report shows of them: layer weights, weights over time, and utterances to listen to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phonemi import audio, signal
from phonemi.aggregations.base import Aggregation
from phonemi.data.manifest import speaker_of
from phonemi.data.mixing import Mixture, generator
from phonemi.enhancers.enhancer import Enhancer
from phonemi.files import read_json, write_json
from phonemi.stages import evaluate
from phonemi.stages.run import Run
from phonemi.stages.systems import evaluation_set, label_of, noisy_test_speech, rows_of, system
from phonemi.systems.system import Row, parse

DONE = "examples/result.json"
SNR_STEPS_DB = (20.0, -5.0, 10.0, -10.0)  # the figure's utterance goes through these, a quarter of its length each

SHOWN = ("si_sdri_db", "stoi", "pesq_wb_lqo", "dnsmos_ovrl")  # scores beside a player


def run(run: Run) -> None:
    """Write layer_weights.json, dynamic_weights.json, examples.json and RUN/examples/ of rows that are evaluated."""
    evaluated = evaluate.result_key(run)
    if not run.is_done(evaluate.RESULT, evaluated):
        run.say("report: the rows of this configuration are not evaluated, so their examples are left as they are")
        return
    key = run.key("showcase", evaluated)
    if run.is_done(DONE, key):
        return
    with run.timed("report"):
        aggregations = {
            row.name: found for row in run.rows if row.model == 1 and (found := _aggregation(run, row)) is not None
        }
        if aggregations:
            _write_weights(run, aggregations)
        _write_examples(run)
        run.write(DONE, {"key": key})


def _aggregation(run: Run, row: Row) -> Aggregation | None:
    if row.kind in ("log1p", "layer"):
        return None
    return Enhancer.from_pretrained(run.folder / "rows" / row.name / "model").aggregation


@torch.inference_mode()
def _write_weights(run: Run, aggregations: dict[str, Aggregation]) -> None:
    """Mean weights over the test utterances, and weights over time on one whose SNR changes."""
    mixtures = evaluation_set(run)
    sample = [mixtures[index].noisy for index in range(0, len(mixtures), max(1, len(mixtures) // 20))]
    states = [_states(run, noisy) for noisy in sample]
    rows = []
    for name, aggregation in aggregations.items():
        weights = torch.cat([aggregation.weights(item)[0] for item in states]).mean(0)
        rows.append({"row": name, "label": parse(name).label, "weights": weights.tolist()})
    write_json(run.folder / "layer_weights.json", {"utterances": len(sample), "rows": rows})

    dynamic = [name for name in aggregations if parse(name).kind == "dws"]
    if not dynamic:
        return
    mixture = _changing(run)
    noisy, clean = torch.from_numpy(mixture.noisy), torch.from_numpy(mixture.clean)
    own = _states(run, mixture.noisy)
    rows = [
        {"row": name, "label": parse(name).label, "weights": aggregations[name].weights(own)[0].tolist()}
        for name in dynamic
    ]
    figure = {
        "utterance": mixture.id,
        "snr_db": None,
        "frame_s": 0.02,
        "log_mel": signal.log_mel(noisy[None])[0].tolist(),
        "local_snr_db": signal.local_snr_db(clean, noisy, window_s=0.25).tolist(),
        "rows": rows,
    }
    write_json(run.folder / "dynamic_weights.json", figure)


def _states(run: Run, noisy: np.ndarray) -> Tensor:
    return run.representation(torch.from_numpy(noisy)[None].to(run.device)).states.cpu()


def _changing(run: Run) -> Mixture:
    """The longest test utterance in test noise whose SNR steps through `SNR_STEPS_DB`."""
    mixtures = noisy_test_speech(run)
    longest = int(np.argmax([recording.duration_s for recording in mixtures.speech.recordings]))
    recording, clean = mixtures.speech.recordings[longest], mixtures.speech[longest]
    random = generator(run.config.seed, "showcase")
    name, noise = mixtures.noise.draw(len(clean), random, speaker_of(recording))
    gain = np.sqrt(np.mean(clean**2) / np.mean(noise**2))
    steps = np.repeat(SNR_STEPS_DB, -(-len(clean) // len(SNR_STEPS_DB)))[: len(clean)]
    noisy = (clean + gain * 10 ** (-steps / 20) * noise).astype(np.float32)
    return Mixture(recording.id, noisy, clean, float("nan"), recording.speaker, recording.text, recording.phones, name)


def _write_examples(run: Run) -> None:
    """A few test mixtures over the range of SNRs, each as every row makes it."""
    mixtures = evaluation_set(run)
    count = min(run.config.evaluate.examples, len(mixtures))
    by_snr = sorted(range(len(mixtures)), key=lambda index: (mixtures[index].snr_db, index))
    chosen = [by_snr[int(position)] for position in np.linspace(0, len(by_snr) - 1, count)]
    names = rows_of(run, models=False)
    systems = {name: system(run, name) for name in names}
    scored = {name: _scored(run, name) for name in names}
    examples = []
    for index in chosen:
        mixture = mixtures[index]
        example: dict[str, Any] = {"id": mixture.id, "snr_db": mixture.snr_db, "text": mixture.text}
        example |= {"files": {}, "labels": {}, "words": {}, "scores": {}}
        for name, enhance in systems.items():
            file = f"examples/{re.sub(r'[^A-Za-z0-9_.-]', '_', f'{mixture.id}.{name}')}.flac"
            audio.save(run.folder / file, enhance(mixture), signal.SAMPLE_RATE)
            example["files"][name] = file
            example["labels"][name] = label_of(run, name)
            found = scored[name].get(mixture.id)
            if found:
                example["words"][name] = found.get("heard")
                example["scores"][name] = {key: found[key]["value"] for key in SHOWN if key in found}
        examples.append(example)
    write_json(run.folder / "examples.json", examples)


def _scored(run: Run, name: str) -> dict[str, dict[str, Any]]:
    path = run.folder / "rows" / name / "scores.json"
    return {u["id"]: u for u in read_json(path)["utterances"]} if path.exists() else {}

"""Write what the report shows of trained systems: layer weights, weights over time, and utterances to listen to."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from phonemi import audio, signal
from phonemi.data.manifest import speaker_of
from phonemi.data.mixing import Mixture, generator
from phonemi.enhancers.enhancer import Enhancer
from phonemi.inversion.inverter import Inverter
from phonemi.inversion.tracks import write_tracks
from phonemi.representations.base import Representation
from phonemi.results.evaluation import Example, ScoredUtterance, Scores
from phonemi.results.record import read_record
from phonemi.results.weights import DynamicWeights, LayerWeights, RowWeights, RowWeightsOverTime
from phonemi.stages import evaluate
from phonemi.stages.run import Run
from phonemi.stages.test_sets import enhances, find_signal, find_test_set, mix_test_speech, row_label, row_names
from phonemi.stages.trained_models import load_model
from phonemi.systems import System

RESULT = "examples/result.json"
LAYER_WEIGHTS, DYNAMIC_WEIGHTS = "layer_weights.json", "dynamic_weights.json"
SNR_STEPS_DB = (20.0, -5.0, 10.0, -10.0)  # the figure's utterance goes through these, a quarter of its length each
SHOWN_SCORES = ("si_sdri_db", "stoi", "pesq_wb_lqo", "dnsmos_ovrl")  # beside a player


def write_showcase(run: Run) -> None:
    """Write layer_weights.json, dynamic_weights.json, examples.json and RUN/examples/ of systems that are evaluated."""
    metrics = evaluate.current_key(run)
    if not run.folder.is_current(evaluate.RESULT, metrics):
        run.say("report: the rows of this configuration are not evaluated, so their examples are left as they are")
        return
    key = run.keys.examples(metrics)
    if run.folder.is_current(RESULT, key):
        return
    with run.folder.timed("report"):
        for name in (RESULT, LAYER_WEIGHTS, DYNAMIC_WEIGHTS):  # they may be of rows that are gone
            (run.folder / name).unlink(missing_ok=True)
        summing = [s for s in run.systems if s.model == 1 and s.tuning is not None]
        if summing:
            _write_weights(run, {system: load_model(run.folder.model(system.name)) for system in summing})
        _write_examples(run)
        run.folder.write(RESULT, {"key": key})


@torch.inference_mode()
def _write_weights(run: Run, models: dict[System, Enhancer | Inverter]) -> None:
    """Mean weights over the test utterances, and weights over time on one whose SNR changes."""
    test_set = find_test_set(run.config.evaluate, run.data)
    sample = [test_set[index].noisy for index in range(0, len(test_set), max(1, len(test_set) // 20))]
    stored = [_hidden_states(run, run.encoder, noisy) for noisy in sample]

    def weights(system: System, model: Enhancer | Inverter, noisy: np.ndarray, states: Tensor) -> Tensor:
        """Of each frame, [frame, layer]; an encoder that was trained with the system has hidden states of its own."""
        assert model.aggregation is not None
        assert model.representation is not None
        if system.changes_encoder:
            states = _hidden_states(run, model.representation.to(run.device), noisy)
        return model.aggregation.weights(states)[0]

    rows = []
    for system, model in models.items():
        parts = {(system.name, system.label): model}
        if system.inverter is not None and system.network is not None:  # it has an aggregation of its own
            inverter = Inverter.from_pretrained(run.folder.model(system.name))
            parts[f"{system.name}:inverter", f"{system.label}: its inverter"] = inverter
        for (name, label), part in parts.items():
            every = [weights(system, part, noisy, states) for noisy, states in zip(sample, stored, strict=True)]
            rows.append(RowWeights(row=name, label=label, weights=tuple(torch.cat(every).mean(0).tolist())))
    run.folder.write(LAYER_WEIGHTS, LayerWeights(utterances=len(sample), rows=tuple(rows)).to_json())

    dynamic = {s: model for s, model in models.items() if s.aggregation == "dynamic_weighted_sum"}
    if not dynamic:
        return
    mixture = _mixture_of_changing_snr(run)
    noisy, clean = torch.from_numpy(mixture.noisy), torch.from_numpy(mixture.clean)
    states = _hidden_states(run, run.encoder, mixture.noisy)
    over_time = []
    for system, model in dynamic.items():
        of_frames = tuple(map(tuple, weights(system, model, mixture.noisy, states).tolist()))
        over_time.append(RowWeightsOverTime(row=system.name, label=system.label, weights=of_frames))
    figure = DynamicWeights(
        utterance=mixture.id,
        log_mel=tuple(map(tuple, signal.log_mel(noisy[None])[0].tolist())),
        local_snr_db=tuple(signal.local_snr_db(clean, noisy, window_s=0.25).tolist()),
        rows=tuple(over_time),
    )
    run.folder.write(DYNAMIC_WEIGHTS, figure.to_json())


def _hidden_states(run: Run, encoder: Representation, noisy: np.ndarray) -> Tensor:
    return encoder(torch.from_numpy(noisy)[None].to(run.device)).states.cpu()


def _mixture_of_changing_snr(run: Run) -> Mixture:
    """The longest test utterance in test noise, whose SNR steps through `SNR_STEPS_DB`."""
    mixtures = mix_test_speech(run.config.evaluate, run.data)
    longest = int(np.argmax([recording.duration_s for recording in mixtures.speech.recordings]))
    recording, clean = mixtures.speech.recordings[longest], mixtures.speech[longest]
    random = generator(run.config.seed, "showcase")
    name, noise = mixtures.noise.draw(len(clean), random, speaker_of(recording))
    gain = np.sqrt(np.mean(clean**2) / np.mean(noise**2))
    steps = np.repeat(SNR_STEPS_DB, -(-len(clean) // len(SNR_STEPS_DB)))[: len(clean)]
    noisy = (clean + gain * 10 ** (-steps / 20) * noise).astype(np.float32)
    return Mixture(recording.id, noisy, clean, float("nan"), recording.speaker, recording.text, name)


def _write_examples(run: Run) -> None:
    """A few test mixtures over the range of SNRs, each as every row makes it."""
    test_set = find_test_set(run.config.evaluate, run.data)
    count = min(run.config.evaluate.examples, len(test_set))
    by_snr = sorted(range(len(test_set)), key=lambda index: (test_set[index].snr_db, index))
    indices = [by_snr[int(position)] for position in np.linspace(0, len(by_snr) - 1, count)]
    names = [name for name in row_names(run, all_models=False) if enhances(run, name)]
    signals = {name: find_signal(run, name) for name in names}
    labels = {name: row_label(run, name) for name in names}
    scores = {name: _scores_by_id(run, name) for name in names}
    inverting = [system for system in run.systems if system.model == 1 and system.inverter is not None]
    inverter = Inverter.from_pretrained(run.folder.model(inverting[-1].name)).to(run.device) if inverting else None
    examples = []
    for index in indices:
        mixture = test_set[index]
        tracks = None
        if inverter is not None:
            tracks = f"examples/{_file_name(mixture.id)}.tracks.npz"
            write_tracks(run.folder / tracks, inverter.invert(mixture.noisy, signal.SAMPLE_RATE))
        files: dict[str, str] = {}
        words: dict[str, str | None] = {}
        shown: dict[str, dict[str, float | None]] = {}
        for name, signal_of in signals.items():
            file = f"examples/{_file_name(f'{mixture.id}.{name}')}.flac"
            audio.save(run.folder / file, signal_of(mixture), signal.SAMPLE_RATE)
            files[name] = file
            if (utterance := scores[name].get(mixture.id)) is not None:
                words[name] = utterance.heard
                shown[name] = {key: utterance.scores[key].value for key in SHOWN_SCORES if key in utterance.scores}
        example = Example(
            id=mixture.id,
            snr_db=mixture.snr_db,
            text=mixture.text,
            files=files,
            labels=labels,
            words=words,
            scores=shown,
            tracks=tracks,
            tracks_by=inverting[-1].label if inverting else None,
        )
        examples.append(example.to_json())
    run.folder.write("examples.json", examples)


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _scores_by_id(run: Run, name: str) -> dict[str, ScoredUtterance]:
    path = run.folder / "rows" / name / "scores.json"
    return {u.id: u for u in read_record(path, Scores).utterances} if path.exists() else {}

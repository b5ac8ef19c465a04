"""Rows that recover articulation: trained alone, beside an enhancer and on clean speech, and judged; in miniature."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from articulated_corpus import NAMES, write_articulated
from safetensors.torch import load_file

from phonemi import audio, load_representation
from phonemi.config import load_config
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.data.speaker_tracks import SpeakerTracks
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import ConfigError, DataError
from phonemi.inversion.inverter import Inverter
from phonemi.inversion.smoothing import smooth
from phonemi.inversion.tracks import Tracks, read_tracks, write_tracks
from phonemi.metrics.score import MAKES_NO_SIGNAL, NO_INVERTER
from phonemi.metrics.statistics import estimate
from phonemi.metrics.tracks import correlation, rmse
from phonemi.results.articulation import BABBLE_LESS_OTHER, Articulation, ArticulationScores, VariableScores
from phonemi.results.evaluation import Evaluation, ScoredUtterance, Scores, UtteranceScore
from phonemi.results.record import read_record
from phonemi.stages import articulation
from phonemi.stages.aggregate import new_aggregation
from phonemi.stages.evaluate import evaluate_systems
from phonemi.stages.information import measure_information
from phonemi.stages.run import Run
from phonemi.stages.system_parts import new_inversion_part, new_network, speaker_tracks
from phonemi.stages.test_sets import find_test_set
from phonemi.stages.train import train_systems
from phonemi.stages.trained_models import is_trained
from phonemi.stages.training_batches import TrainingBatches, enhancement_mixtures, stores_states
from phonemi.stages.training_model import TrainingModel
from phonemi.systems import find_system
from phonemi.systems.tabatabaee2026 import ENHANCER, INVERTER_OF_CLEAN

ROWS = ("inversion-linear", INVERTER_OF_CLEAN, ENHANCER, "cascade", "joint", "joint+tuned-entire")
SMALL = (
    "representation=mini", "data.test_share=0.34", "data.validation_share=0.17", "data.babble_share=0.5",
    "information.snrs_db=[5]", "information.copies=1", "information.train_utterances=4", "information.hidden=8",
    "information.epochs=1", "information.precision=no", "aggregate.aggregations=[]",
    "enhance.steps=4", "enhance.validate_every=2", "enhance.batch=2", "enhance.crop_s=0.5", "enhance.snrs_db=[5]",
    "enhance.train_mixtures=4", "enhance.validation_mixtures=1", "enhance.select_on=loss", "enhance.precision=no",
    "enhance.jobs=1", "enhance.channels=4", "enhance.most_channels=8", "enhance.resample=1",
    "inversion.hidden=8", "inversion.heads=2",
    "evaluate.snrs_db=[5, 20]", "evaluate.utterances=2", "evaluate.per_utterance=null", "evaluate.recogniser=none",
)  # fmt: skip


def configured(corpus: Path, *changes: str, rows: tuple[str, ...] = ROWS) -> Any:
    data = [f"data.speech=[{corpus / 'speech.jsonl'}]", f"data.noise=[{corpus / 'noise.jsonl'}]"]
    return load_config(None, [*data, *SMALL, f"enhance.rows=[{', '.join(rows)}]", *changes])


@pytest.fixture(scope="session")
def articulated(shared_folder: Callable[..., Path]) -> Path:
    """The corpus, which no test writes into."""
    return shared_folder("articulated", write_articulated)


@pytest.fixture(scope="session")
def inverted(shared_folder: Callable[..., Path], articulated: Path) -> Path:
    """A run of `ROWS` after every stage, a few steps each, which no test writes into."""

    def run_every_stage(folder: Path) -> None:
        run = Run(folder / "run", configured(articulated))
        measure_information(run)
        train_systems(run)
        evaluate_systems(run)

    return shared_folder("inverted", run_every_stage) / "run"


@pytest.fixture
def run(inverted: Path) -> Run:
    return Run(inverted, load_config(inverted / "config.yaml"), save=False)


@pytest.fixture
def copied(articulated: Path, tmp_path: Path) -> Path:
    """A copy of the corpus that may be changed."""
    return Path(shutil.copytree(articulated, tmp_path / "corpus"))


def scores_of(run: Run, row: str) -> list[ScoredUtterance]:
    return list(read_record(run.folder / f"rows/{row}/scores.json", Scores).utterances)


def batch_and_model(run: Run, row: str) -> tuple[Any, TrainingModel]:
    """The first batch of a row, and its untrained model without dropout."""
    torch.manual_seed(0)
    system, config = find_system(row), run.config
    tracks, encoder = speaker_tracks(run)["train"], run.encoder
    aggregation = new_aggregation(config.aggregate, encoder, "ws").tune("acoustic")
    network = None if system.network is None else new_network(system, config.enhance, encoder.dim, encoder.hop)
    inversion = new_inversion_part(run, system, tracks, aggregation)
    mixtures = enhancement_mixtures(config.enhance, run.data, "train")
    batch = TrainingBatches(lambda _: mixtures, None, 2, 0, tracks=tracks)(0)
    of_enhancer = None if network is None else aggregation
    return batch, TrainingModel(network, of_enhancer, encoder, inversion=inversion).eval()


# What training sees


def test_the_tracks_of_a_crop_are_those_of_its_sound(articulated: Path, tmp_path: Path) -> None:
    """The wider the lips, the louder the sound: tracks of another place would not go with it."""
    run = Run(tmp_path / "run", configured(articulated, "enhance.train_mixtures=12", "enhance.batch=12"), save=False)
    mixtures = enhancement_mixtures(run.config.enhance, run.data, "train")
    batch = TrainingBatches(lambda _: mixtures, None, 12, 0, tracks=speaker_tracks(run)["train"])(0)
    assert batch.tracks is not None
    assert batch.tracks.shape == (12, 50, len(NAMES))
    assert len({mixtures[index].start for index in range(12)}) > 6
    assert loudness_follows_lips(batch) > 0.9


def loudness_follows_lips(batch: Any) -> float:
    """Mean correlation of level in dB and LA over the crops of a batch; a level is that of 30 ms about a frame."""
    found = []
    for clean, tracks in zip(batch.clean.numpy(), batch.tracks[..., 0].numpy(), strict=True):
        frames = np.arange(2, len(tracks) - 2)
        levels_db = [10 * np.log10(np.mean(clean[160 * frame - 240 : 160 * frame + 240] ** 2)) for frame in frames]
        found.append(np.corrcoef(levels_db, tracks[frames])[0, 1])
    return float(np.mean(found))


def test_the_tracks_of_a_crop_of_a_recorded_pair_are_those_of_its_sound(articulated: Path, tmp_path: Path) -> None:
    speech = read_manifest(articulated / "speech.jsonl")
    pairs = tmp_path / "pairs.jsonl"
    write_manifest(pairs, [replace(r, id=f"pair-{r.id}", clean=r.path, phones=None) for r in speech])
    changes = [f"data.train_pairs=[{pairs}]", f"data.validation_pairs=[{pairs}]", "enhance.crop_pairs=true"]
    run = Run(tmp_path / "run", configured(articulated, *changes), save=False)
    mixtures = enhancement_mixtures(run.config.enhance, run.data, "train")
    assert max(mixtures[index].start for index in range(len(mixtures))) > 0
    batch = TrainingBatches(lambda _: mixtures, None, len(mixtures), 0, tracks=speaker_tracks(run)["train"])(0)
    assert loudness_follows_lips(batch) > 0.9


def test_the_loss_of_joint_training_is_the_sum_of_both(articulated: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", configured(articulated, "inversion.weight=0.3"), save=False)
    batch, model = batch_and_model(run, "joint")
    lengths = torch.tensor(batch.lengths)
    assert model.inversion is not None
    assert model.network is not None
    assert model.aggregation is not None
    with torch.no_grad():
        states = run.encoder(batch.noisy, lengths).states
        of_enhancer = model.network.loss(batch.noisy, batch.clean, model.aggregation(states), lengths)
        of_inverter = model.inversion.network.loss(model.inversion.aggregation(states), batch.tracks, lengths)
        assert of_inverter > 0.05
        assert float(model(batch)) == pytest.approx(float(of_enhancer + 0.3 * of_inverter), abs=1e-6)


def test_an_inverter_alone_has_its_whole_loss(articulated: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", configured(articulated, "inversion.weight=0.3"), save=False)
    batch, model = batch_and_model(run, "inversion")
    assert model.inversion is not None
    with torch.no_grad():
        states = run.encoder(batch.noisy, torch.tensor(batch.lengths)).states
        expected = model.inversion.network.loss(
            model.inversion.aggregation(states), batch.tracks, torch.tensor(batch.lengths)
        )
        assert float(model(batch)) == pytest.approx(float(expected), abs=1e-6)


def test_what_learns_from_clean_speech_never_hears_noise(articulated: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", configured(articulated), save=False)
    for row, hears_noise in (("inversion-clean", False), ("inversion", True)):
        batch, model = batch_and_model(run, row)
        with torch.no_grad():
            losses = [float(model(part)) for part in (batch, batch._replace(noisy=batch.clean))]
            broken = float(model(batch._replace(noisy=torch.full_like(batch.noisy, torch.nan))))
        assert (losses[0] != losses[1]) == hears_noise
        assert np.isnan(broken) == hears_noise
        assert stores_states(run, find_system(row)) == hears_noise, "stored states are those of noisy speech"


def test_the_inverter_beside_an_enhancer_has_a_sum_of_its_own(articulated: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", configured(articulated), save=False)
    _, joint = batch_and_model(run, "joint")
    _, alone = batch_and_model(run, "inversion")
    assert joint.inversion is not None
    assert joint.inversion.aggregation is not joint.aggregation
    assert all(parameter.requires_grad for parameter in joint.inversion.aggregation.parameters())
    assert alone.aggregation is None


# What a run leaves


@pytest.mark.slow
def test_what_a_run_leaves_can_be_loaded(run: Run) -> None:
    for row in ROWS:
        system = find_system(row)
        if system.cascade is not None:
            assert not run.folder.model(row).exists()
            continue
        folder = run.folder.model(row)
        if system.network is not None:
            assert Enhancer.from_pretrained(folder).network.kind == "waveform"
        if system.inverter is not None:
            inverter = Inverter.from_pretrained(folder)
            assert (inverter.variables, inverter.network.kind) == (NAMES, system.inverter)
            assert inverter.facts["row"] == row
            expected = speaker_tracks(run)["train"].typical()
            np.testing.assert_allclose(inverter.normalisation.mean, expected.mean)
            np.testing.assert_allclose(inverter.normalisation.reach, expected.reach)
        assert (folder / "inverter").is_dir() == (system.network is not None and system.inverter is not None)
        assert not (folder / "inverter" / "encoder").exists()


@pytest.mark.slow
def test_a_frozen_encoder_stays_as_it_was_and_a_tuned_one_does_not(run: Run) -> None:
    shipped = load_representation("mini").state_dict()

    def moved(row: str) -> set[str]:
        trained = load_file(run.folder.model(row) / "encoder" / "model.safetensors")
        return {name for name in shipped if not torch.equal(trained[name].to(shipped[name]), shipped[name])}

    assert moved("joint") == moved("inversion-linear") == set()
    for row in ("joint+tuned-entire", INVERTER_OF_CLEAN):
        assert {"position.weight", "blocks.0.query_key_value.weight"} < moved(row)


@pytest.mark.slow
def test_rows_that_make_no_signal_have_no_scores_of_it_and_say_why(run: Run) -> None:
    metrics = scores_of(run, "noisy")[0].scores.keys()
    assert {"si_sdr_db", "stoi", *articulation.KEYS} <= metrics
    for row in ("inversion-linear", INVERTER_OF_CLEAN, "cascade"):
        for utterance in scores_of(run, row):
            assert utterance.scores.keys() == metrics
            assert all(utterance.scores[metric].value is not None for metric in articulation.KEYS)
            others = {utterance.scores[metric] for metric in metrics - set(articulation.KEYS)}
            assert others == {UtteranceScore(value=None, reason=MAKES_NO_SIGNAL)}
            assert utterance.word_failure == MAKES_NO_SIGNAL
    for row in ("noisy", "clean", ENHANCER):
        for utterance in scores_of(run, row):
            of_tracks = {utterance.scores[metric] for metric in articulation.KEYS}
            assert of_tracks == {UtteranceScore(value=None, reason=NO_INVERTER)}
            assert utterance.scores["stoi"].value is not None
    for utterance in scores_of(run, "joint"):
        assert all(utterance.scores[metric].value is not None for metric in ("stoi", *articulation.KEYS))


@pytest.mark.slow
def test_the_metrics_of_a_row_are_those_that_it_has(run: Run) -> None:
    evaluation = read_record(run.folder / "metrics.json", Evaluation)
    has = {
        row.row: [row.value(metric) is not None for metric in ("ppmc", "rmse_mm", "stoi", "mi_bits")]
        for row in evaluation.rows
    }
    assert has["cascade"] == [True, True, False, False]
    assert has["inversion-linear"] == [True, True, False, True]
    assert has["joint"] == [True] * 4
    assert has["noisy"] == [False, False, True, False]
    compared = {(one.row, one.against, one.metric) for one in evaluation.comparisons}
    assert ("cascade", INVERTER_OF_CLEAN, "ppmc") in compared


@pytest.mark.slow
def test_scores_are_those_of_the_variables_in_the_range_of_the_speaker(run: Run) -> None:
    """Computed a second time, from the files alone."""
    test_set, inverter = (
        find_test_set(run.config.evaluate, run.data),
        Inverter.from_pretrained(run.folder.model("joint")),
    )
    true = SpeakerTracks(run.data.speech["test"])
    kept = read_record(run.folder / "rows/joint/articulation.json", ArticulationScores).utterances
    assert len(kept) == len(test_set) == 4
    for index, utterance in enumerate(scores_of(run, "joint")):
        mixture = test_set[index]
        with torch.inference_mode():
            estimate = inverter(torch.from_numpy(mixture.noisy)[None])[0].numpy()
        target, reach = true.values[mixture.utterance_id], true.normalisation_of(mixture.utterance_id).reach
        correlations = [score.value for score in correlation(estimate, target)[:2]]
        errors_mm = [score.value * size for score, size in zip(rmse(estimate, target)[:2], reach[:2], strict=True)]
        assert utterance.scores["ppmc"].value == pytest.approx(np.mean(correlations), abs=1e-5)
        assert utterance.scores["rmse_mm"].value == pytest.approx(np.mean(errors_mm), rel=1e-4)
        assert kept[index].ppmc["LA"].value == pytest.approx(correlations[0], abs=1e-5)
        assert kept[index].ppmc["PER"] == UtteranceScore(value=None, reason="does not move")
        assert kept[index].rmse_mm["PER"] == UtteranceScore(value=None, reason="not a length")


@pytest.mark.slow
def test_a_cascade_is_the_enhancer_and_then_the_inverter(run: Run) -> None:
    test_set = find_test_set(run.config.evaluate, run.data)
    enhancer = Enhancer.from_pretrained(run.folder.model(ENHANCER))
    inverter = Inverter.from_pretrained(run.folder.model(INVERTER_OF_CLEAN))
    true = SpeakerTracks(run.data.speech["test"])
    own, alone = scores_of(run, "cascade"), scores_of(run, INVERTER_OF_CLEAN)
    for index in (0, 3):
        mixture = test_set[index]
        for heard, metric in ((mixture.noisy, "ppmc"), (mixture.clean, "ppmc_clean")):
            with torch.inference_mode():
                estimate = inverter(enhancer(torch.from_numpy(heard)[None]))[0].numpy()
            target = true.part(mixture.utterance_id, 0, len(heard))
            expected = np.mean([score.value for score in correlation(estimate, target)[:2]])
            assert own[index].scores[metric].value == pytest.approx(expected, abs=1e-5)
            assert own[index].scores[metric] != alone[index].scores[metric]


@pytest.mark.slow
def test_the_summary_has_every_variable_noise_and_snr(run: Run) -> None:
    summary, scores = read_record(run.folder / "articulation.json", Articulation), scores_of(run, "joint")
    assert summary.variables == list(NAMES)
    assert {row.row for row in summary.rows} == set(ROWS) - {ENHANCER}
    for snr_db in (5.0, 20.0, None):
        chosen = [u.scores["ppmc"].value for u in scores if snr_db in (None, u.snr_db)]
        cell = summary.find("joint", None, "all", snr_db)
        assert cell is not None
        assert cell.value == pytest.approx(np.mean(chosen), abs=1e-5)
        assert (cell.scored, cell.models) == (len(chosen), 1)
        kinds = [summary.find("joint", None, kind, snr_db) for kind in ("babble", "other")]
        assert sum(kind.scored for kind in kinds if kind is not None) == len(chosen)
    clean, still = summary.find("joint", None, "clean"), summary.find("joint", "PER")
    assert clean is not None
    assert clean.scored == 2, "of an utterance at several SNRs there is one"
    assert still is not None
    assert (still.scored, still.value) == (0, None)


def test_intervals_are_over_speakers_and_pairs_are_counted_one_by_one() -> None:
    """What one speaker says is alike: of five speakers with forty utterances each there are five observations."""
    rng, unknown = np.random.default_rng(0), {"LA": UtteranceScore(value=None, reason="not a length")}
    mixed, paired = [], []
    for speaker in range(5):
        level = rng.uniform(0.2, 0.8)
        for number in range(40):
            scores = {"LA": UtteranceScore(value=level + 0.01 * rng.standard_normal())}
            for scored, name in ((mixed, f"s{speaker}-{number}@5dB"), (paired, f"p{speaker}-{number}")):
                about: dict[str, Any] = {"id": name, "speaker": f"s{speaker}", "snr_db": 5.0, "noise": "n1"}
                scored.append(VariableScores(**about, ppmc=scores, ppmc_clean=scores, rmse_mm=unknown))
    for scored in (mixed, paired):
        cells = {(c.noise, c.snr_db): c for c in articulation._summaries("joint", [tuple(scored)]) if c.variable}
        for place in (("all", 5.0), ("clean", None)):
            cell = cells[place]
            assert cell.scored == 200
            means = [np.mean([u.ppmc["LA"].value for u in scored[40 * speaker :][:40]]) for speaker in range(5)]
            assert cell.value == pytest.approx(np.mean(means))
            half = 2.776 * np.std(means, ddof=1) / np.sqrt(5)  # Student's t of 4 degrees of freedom, 95 %
            assert None not in (cell.high, cell.low)
            assert (cell.high - cell.low) / 2 == pytest.approx(half, rel=0.1)


def gains_of(level: float, in_babble: float, in_clean: float, seed: int) -> tuple[VariableScores, ...]:
    """A model on ten speakers at two SNRs, a third of the noise babble; what is added to a level common to all rows."""
    rng, common, unknown = np.random.default_rng(seed), np.random.default_rng(0), UtteranceScore(value=None)
    scored = []
    for speaker in range(10):
        voice = common.normal(0, 0.1)
        for number in range(6):
            clean = UtteranceScore(value=voice + in_clean + 0.01 * rng.standard_normal())
            for snr_db in (0.0, 10.0):
                noise = "babble 1" if number % 3 == 0 else "rain"
                value = voice + level + (in_babble if number % 3 == 0 else 0.0) + 0.01 * rng.standard_normal()
                about: dict[str, Any] = {"id": f"s{speaker}-{number}@{snr_db}dB", "speaker": f"s{speaker}"}
                about |= {"snr_db": snr_db, "noise": noise, "rmse_mm": {"LA": unknown}}
                scored.append(
                    VariableScores(**about, ppmc={"LA": UtteranceScore(value=value)}, ppmc_clean={"LA": clean})
                )
    return tuple(scored)


def test_what_both_tasks_add_is_tested_over_models_in_each_noise() -> None:
    models = {
        "joint": [gains_of(0.1, 0.2, 0.0, seed) for seed in range(4)],
        "inversion": [gains_of(0.0, 0.0, 0.0, seed) for seed in range(10, 13)],
    }
    differences = articulation.compare(models, ["joint"])
    found = {(one.noise, one.snr_db): one for one in differences}
    assert len(found) == len(differences)
    expected = {
        ("all", None): 0.1 + 0.2 / 3,
        ("babble", None): 0.3,
        ("other", None): 0.1,
        (BABBLE_LESS_OTHER, None): 0.2,
    }
    expected |= {
        ("babble", 0.0): 0.3,
        ("babble", 10.0): 0.3,
        ("other", 0.0): 0.1,
        ("other", 10.0): 0.1,
        ("clean", None): 0,
    }
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        one = found[place]
        assert (one.row, one.against, one.models, one.clusters) == ("joint", "inversion", 3, 10), "pairs of models"
        assert one.difference == pytest.approx(value, abs=0.01)
        assert one.low < value < one.high
        assert one.is_significant == (value != 0), place
    claims = [found["all", None], found[BABBLE_LESS_OTHER, None]]
    assert [one.p_adjusted for one in claims] == [one.p_value for one in claims], "each is a family of one"
    assert found["babble", 0.0].p_adjusted > found["babble", 0.0].p_value
    assert not any(one.p_adjusted for one in articulation.compare({k: v[:2] for k, v in models.items()}, ["joint"]))


def test_a_contrast_of_noises_is_known_as_well_as_leaving_speakers_out_says() -> None:
    rng = np.random.default_rng(1)
    speakers, in_babble = np.repeat(np.arange(12), 9), rng.random(108) < 0.3
    gains = (0.1 * rng.standard_normal(12)[speakers] * (1 + in_babble) + 0.05 * rng.standard_normal(108))[None]
    gains[0, :4] = np.nan

    def contrast(chosen: np.ndarray) -> float:
        return float(np.nanmean(gains[0, chosen & in_babble]) - np.nanmean(gains[0, chosen & ~in_babble]))

    contributions = articulation._contrast(gains, in_babble)
    known = np.isfinite(contributions)
    interval = estimate(np.where(known, contributions, 0), known.astype(float), list(speakers))
    assert interval.value == pytest.approx(contrast(speakers >= 0))
    without = [contrast(speakers != speaker) for speaker in range(12)]
    error = np.sqrt(11 / 12 * np.sum(np.square(without - np.mean(without))))
    assert (interval.high - interval.low) / 2 == pytest.approx(2.201 * error, rel=0.1)  # t of 11 degrees of freedom


@pytest.mark.slow
def test_nothing_is_done_twice(inverted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(inverted, tmp_path / "run")
    run = Run(folder, load_config(folder / "config.yaml"), save=False)
    monkeypatch.setattr(articulation, "load_estimator", lambda *_: pytest.fail("judged again"))
    monkeypatch.setattr("phonemi.stages.train.train_system", lambda *_: pytest.fail("trained again"))
    train_systems(run)
    evaluate_systems(run)


@pytest.mark.slow
def test_a_row_without_its_variables_is_judged_again(inverted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(inverted, tmp_path / "run")
    path = folder / "rows" / "inversion-linear" / "articulation.json"
    before = path.read_bytes()
    path.unlink()
    (folder / "metrics.json").unlink()
    evaluate_systems(Run(folder, load_config(folder / "config.yaml"), save=False))
    assert path.read_bytes() == before


@pytest.mark.slow
def test_results_are_stale_when_tracks_change(inverted: Path, copied: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(inverted, tmp_path / "run")
    same = Run(folder, configured(copied), save=False)
    assert all(is_trained(same, find_system(row)) for row in ROWS), "another folder is no other corpus"
    path = copied / "s0-0.npz"
    tracks = read_tracks(path)
    write_tracks(path, Tracks(tracks.values + 1, tracks.names, tracks.units))
    other = Run(folder, configured(copied), save=False)
    assert not any(is_trained(other, find_system(row)) for row in ROWS)


@pytest.mark.slow
def test_the_report_shows_articulation(inverted: Path, tmp_path: Path, phonemi: Any, blank_figures: None) -> None:
    folder = shutil.copytree(inverted, tmp_path / "run")
    assert phonemi("report", folder).code == 0
    page, text = (folder / "report.html").read_text(), (folder / "results.md").read_text()
    for name in ("joint enhancer and inverter", "enhancer, then inverter of clean speech"):
        assert name in page
        assert name in text
    assert "Articulation: correlation by variable" in text
    for title in (
        "joint enhancer and inverter, encoder tuned (entire) against joint enhancer and inverter",
        "difference of PPMC",
    ):
        assert title in page
        assert title in text


# Smoothing, learning, and what is refused


@pytest.mark.slow
def test_smoothing_is_of_what_is_judged(inverted: Path) -> None:
    runs = [
        Run(inverted, load_config(inverted / "config.yaml", [f"inversion.smooth={wanted}"]), save=False)
        for wanted in ("false", "true")
    ]
    mixture = find_test_set(runs[0].config.evaluate, runs[0].data)[0]
    rough, smoothed = (
        articulation.load_estimator(run, find_system("inversion-linear"), NAMES)(mixture.noisy) for run in runs
    )
    np.testing.assert_allclose(smoothed, smooth(rough), atol=1e-6)
    assert not np.allclose(smoothed, rough, atol=1e-3)


@pytest.mark.slow
def test_a_few_hundred_steps_learn_what_can_be_heard(tmp_path: Path) -> None:
    """A correlation above 0.8 on a speaker never heard, at 20 dB; noise alone gives none."""
    write_articulated(tmp_path, speakers=8, utterances=3)
    changes = ["enhance.steps=200", "enhance.validate_every=100", "enhance.train_mixtures=60", "enhance.batch=6"]
    changes += ["enhance.snrs_db=[20]", "evaluate.snrs_db=[20]", "enhance.learning_rate=0.003", "inversion.dropout=0"]
    changes += ["inversion.hidden=32", "data.babble_share=0", "evaluate.utterances=null"]
    run = Run(tmp_path / "run", configured(tmp_path, *changes, rows=("inversion",)), save=False)
    train_systems(run)
    tracks = articulation.true_tracks(run)
    estimator = articulation.load_estimator(run, find_system("inversion"), NAMES)
    test_set = find_test_set(run.config.evaluate, run.data)
    found, of_noise = [], []
    for index in range(len(test_set)):
        mixture = test_set[index]
        true = tracks.part(mixture.utterance_id, 0, len(mixture.noisy))
        for heard, values in ((mixture.noisy, found), (mixture.noisy - mixture.clean, of_noise)):
            values.append([score.value for score in correlation(estimator(heard), true)[:2]])
    assert np.mean(found) > 0.8
    assert abs(np.mean(of_noise)) < 0.4


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_without_tracks_is_named_before_any_work(copied: Path, tmp_path: Path, split: str) -> None:
    of_split = Run(tmp_path / "run", configured(copied), save=False).data.speech[split]
    speakers = {recording.speaker for recording in of_split}
    recordings = read_manifest(copied / "speech.jsonl")
    without = [replace(r, tracks=None) if r.speaker in speakers else r for r in recordings]
    write_manifest(copied / "speech.jsonl", without)
    run = Run(tmp_path / "run", configured(copied), save=False)
    with pytest.raises(DataError, match=f"{split} speech: no recording has tracks"):
        articulation.true_tracks(run) if split == "test" else train_systems(run)
    assert not (tmp_path / "run" / "timings.json").exists()


def test_the_test_speech_has_the_variables_that_were_learned(inverted: Path) -> None:
    run = Run(inverted, load_config(inverted / "config.yaml"), save=False)
    with pytest.raises(DataError, match=r"tracks of LA, TTCD; row 'joint' has learned LA, TTCD, PER"):
        articulation.load_estimator(run, find_system("joint"), ("LA", "TTCD"))


@pytest.mark.parametrize(
    ("row", "change", "message"),
    [
        ("inversion", "enhance.select_on=stoi", "row 'inversion' makes no enhanced speech.*enhance.select_on=loss"),
        ("joint", "enhance.start=default", "row 'joint': what inverts begins anew: set enhance.start=null"),
        ("cascade", "enhance.seeds=1", "row 'cascade' is made of .*: name them in enhance.rows too"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    articulated: Path, tmp_path: Path, row: str, change: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_systems(Run(tmp_path / "run", configured(articulated, change, rows=(row,)), save=False))
    assert not (tmp_path / "run" / "rows").exists()


@pytest.mark.slow
def test_recorded_test_pairs_have_their_own_tracks(inverted: Path, articulated: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(inverted, tmp_path / "run")
    speech = read_manifest(articulated / "speech.jsonl")[:2]
    for recording in speech:
        audio.save(tmp_path / f"{recording.id}.wav", 0.9 * audio.load(recording.path), 16_000)
    pairs = [
        replace(r, id=f"pair-{r.id}", path=str(tmp_path / f"{r.id}.wav"), clean=r.path, phones=None) for r in speech
    ]
    write_manifest(tmp_path / "pairs.jsonl", pairs)
    run = Run(folder, load_config(folder / "config.yaml", [f"evaluate.pairs={tmp_path / 'pairs.jsonl'}"]), save=False)
    evaluate_systems(run)
    kept = read_record(folder / "rows/joint/articulation.json", ArticulationScores).utterances
    assert [utterance.id for utterance in kept] == ["pair-s0-0", "pair-s0-1"]
    assert all(utterance.ppmc["LA"].value is not None for utterance in kept)

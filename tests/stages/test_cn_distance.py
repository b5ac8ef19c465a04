"""How far noise moves each layer: known distances, states that are not computed twice, what rows have learned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phonemi.aggregations import WeightedSum
from phonemi.config import load_config
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.pretrained import build_network
from phonemi.files import read_json
from phonemi.report.figures import draw
from phonemi.report.markdown import write_markdown
from phonemi.report.robustness import LayerProfile, layer_profiles, robustness_sentences
from phonemi.report.run_page import build_report
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation
from phonemi.results.cn_distance import CleanNoisyDistances
from phonemi.results.record import read_record
from phonemi.results.run_folder import read_results
from phonemi.results.tables import distances_table
from phonemi.results.weights import RowWeights
from phonemi.stages.cn_distance import RESULT, measure_distance
from phonemi.stages.hidden_states import StateCache
from phonemi.stages.information import measure_information
from phonemi.stages.labelled_frames import plan_mixtures
from phonemi.stages.run import Run
from phonemi.systems import System, find_system


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """An encoder of two blocks with random weights."""
    torch.manual_seed(0)
    sizes = MelTransformerConfig(mels=20, dim=16, blocks=2, heads=2, feedforward=32, position_kernel=5)
    MelTransformer(sizes).save(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def run(corpus: Any, encoder: Path, tmp_path: Path) -> Callable[..., Run]:
    def of(*changes: str) -> Run:
        settings = [*corpus.settings, f"representation={encoder}", *changes]
        return Run(tmp_path / "run", load_config(None, settings), save=False)

    return of


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files of hidden states that are computed from now on."""
    names: list[str] = []
    encode = StateCache._encode

    def note_and_encode(self: StateCache, *arguments: Any) -> list[int]:
        names.append(next(each.stem for each in arguments if isinstance(each, Path)))
        return encode(self, *arguments)

    monkeypatch.setattr(StateCache, "_encode", note_and_encode)
    return names


def result_of(run: Run) -> CleanNoisyDistances:
    return read_record(run.folder / RESULT, CleanNoisyDistances)


def states_of(encoder: Path, waveform: np.ndarray) -> np.ndarray:
    """Hidden states [layer, frame, dim]."""
    with torch.inference_mode():
        return load_representation(encoder)(torch.from_numpy(waveform)[None]).states[:, 0].double().numpy()


def test_the_distances_are_those_of_noisy_and_clean_states_of_the_same_test_mixtures(
    run: Callable[..., Run], encoder: Path
) -> None:
    measure_distance(run())
    plan = plan_mixtures(run().config.information, run().data, "test")
    expected: dict[float, list[np.ndarray]] = {}
    for index in range(len(plan)):
        noisy, clean = (states_of(encoder, waveform) for waveform in (plan[index].noisy, plan[index].clean))
        scaled = [
            (states - states.mean(-1, keepdims=True)) / np.sqrt(states.var(-1, keepdims=True) + 1e-5)
            for states in (noisy, clean)
        ]
        distance = np.sqrt(((scaled[0] - scaled[1]) ** 2).mean(-1)).mean(1)
        norms = np.linalg.norm(noisy, axis=-1) * np.linalg.norm(clean, axis=-1)
        cosine = ((noisy * clean).sum(-1) / norms).mean(1)
        expected.setdefault(plan[index].snr_db, []).append(np.stack([distance, 1 - cosine]))
    result = result_of(run())
    assert result.representations == ["tiny"]
    assert len(result.rows) == 2 * len(result.average) == 6
    for row in result.rows:
        assert row.snr_db is not None
        mean = np.mean(expected[row.snr_db], axis=0)[:, row.layer]
        assert (row.distance_sd, row.one_minus_cosine) == pytest.approx(tuple(mean), abs=2e-3)
        assert row.utterances == 4
    for layer, row in enumerate(result.average):
        at_snrs = [other.distance_sd for other in result.rows if other.layer == layer]
        assert row.distance_sd == pytest.approx(np.mean(at_snrs))
        low, high = row.distance_sd_low, row.distance_sd_high
        assert low is not None
        assert high is not None
        assert 0 <= low < row.distance_sd < high <= 2
        assert at_snrs[0] > at_snrs[1], "at 0 dB noise moves the states further than at 10 dB"
    # Two test speakers are too few for intervals over them.
    assert result.intervals_over == "utterances"
    assert result.protocol["data"] == "8 mixtures of 4 utterances of 2 speakers"


def test_frames_of_noisy_and_clean_speech_are_the_same_ones(run: Callable[..., Run]) -> None:
    """Without audible noise nothing moves, of whatever frames are kept and in however many clips."""
    tiny = run("information.snrs_db=[120]", "information.clips=2", "information.most_frames=1000")
    measure_distance(tiny)
    assert all(0 <= row.distance_sd < 2e-3 for row in result_of(tiny).average)


def test_what_is_stored_is_not_encoded_again(run: Callable[..., Run], encoded: list[str]) -> None:
    measure_distance(run())
    assert encoded == ["information.encoder.test", "information.encoder.clean"]
    measure_distance(run())
    measure_information(run())
    measure_distance(run())
    assert encoded[2:] == [
        "information.encoder.train", "information.encoder.validation",
        *(f"information.log1p.{split}" for split in ("train", "validation", "test")),
    ]  # fmt: skip
    before = read_json(run().folder / RESULT)["key"]
    measure_distance(run("information.snrs_db=[5]"))
    assert read_json(run().folder / RESULT)["key"] != before
    assert encoded[-2:] == ["information.encoder.test", "information.encoder.clean"]


def save_tuned(run: Run, system: System, factor: float) -> None:
    """A model of a row whose encoder is that of the run, the weights of what is trained times a factor."""
    representation = run.load_encoder()
    assert system.tuned_from_block is not None
    representation.unfreeze(system.tuned_from_block)
    with torch.no_grad():
        for parameter in representation.parameters():
            if parameter.requires_grad:
                parameter.mul_(factor)
    network = build_network({"kind": "mask", "dim": 16, "log1p": False, "hidden": 8, "layers": 1})
    Enhancer(representation, WeightedSum(3), network, system.name).save_pretrained(run.folder.model(system.name))
    run.folder.write(f"rows/{system.name}/result.json", {"key": run.keys.model(system)})


def test_an_encoder_that_a_row_has_learned_is_measured_beside_it(run: Callable[..., Run]) -> None:
    tuned = run("enhance.rows=[ws-acoustic, ws-acoustic+tuned-2]")
    measure_distance(tuned)
    assert result_of(tuned).representations == ["tiny"], "it is not trained yet"
    system = find_system("ws-acoustic+tuned-2")
    save_tuned(tuned, system, 1.5)
    measure_distance(tuned)
    result = result_of(tuned)
    assert result.representations == ["tiny", system.name]
    before, after = (result.by_layer(name)[0] for name in result.representations)
    np.testing.assert_allclose(before[:2], after[:2], atol=1e-6)  # what was frozen is the same
    assert before[2] != pytest.approx(after[2], abs=1e-4)
    # Weights of the row belong to what it has learned, those of frozen rows to the encoder.
    rows = [{"row": name, "weights": [0.5, 0.3, 0.2]} for name in ("ws-acoustic", system.name)]
    tuned.folder.write("layer_weights.json", {"rows": rows})
    profiles = layer_profiles(read_results(tuned.folder.path))
    assert [[row.row for row in profile.weights] for profile in profiles] == [["ws-acoustic"], [system.name]]
    text = " ".join(robustness_sentences(profiles))
    assert f"for tiny and {after.mean():.3f} for {system.label}; BSSE found more after fine-tuning." in text


def test_what_models_of_a_row_have_learned_is_tested_against_the_frozen_encoder(run: Callable[..., Run]) -> None:
    tuned = run("enhance.rows=[ws-acoustic+tuned-2]", "enhance.seeds=3")
    apart = []
    for system, factor in zip(tuned.systems, (1.4, 1.5, 1.6), strict=True):
        save_tuned(tuned, system, factor)
        measure_distance(tuned)
        apart.append(result_of(tuned))
    first, three = apart[0], apart[2]
    assert three.representations == ["tiny", "ws-acoustic+tuned-2"]
    frozen, *_, top = three.average
    assert (frozen.change_sd, top.models) == (None, 3)
    assert top.change_sd == pytest.approx(top.distance_sd - three.average[2].distance_sd)
    assert top.change_sd_low is not None
    assert top.change_sd_high is not None
    assert top.change_sd_low < top.change_sd < top.change_sd_high
    assert top.change_p_value is not None
    assert 0 < top.change_p_value < 1
    assert first.average[-1].change_p_value is None, "of one model nothing is tested"
    table = distances_table(three, "distance_sd")
    assert table.columns[-1].title == "change"
    assert f"{top.change_sd:+.3f} [".replace("-", "−") in table.markdown()
    assert distances_table(three, "one_minus_cosine").columns[-1].title == "average"


def test_it_is_in_the_results_the_page_and_the_figure(run: Callable[..., Run], tmp_path: Path) -> None:
    folder = run().folder.path
    measure_distance(run())
    text = write_markdown(folder).read_text()
    assert "## Clean-noisy distance by layer and SNR, 1 - cosine" in text
    (drawing,) = [path.read_text() for path in draw("cn", [folder], tmp_path / "one") if path.suffix == ".svg"]
    assert ">CN distance (SD)<" in drawing
    assert ">MI (bits)<" not in drawing, "it is not measured"
    measure_information(run())
    weights = {"ws-acoustic": [0.5, 0.3, 0.2], "ws-linguistic": [0.1, 0.2, 0.7], "dws-acoustic": [0.4, 0.3, 0.3]}
    run().folder.write("layer_weights.json", {"rows": [{"row": n, "weights": w} for n, w in weights.items()]})
    result = result_of(run())
    (profile,) = layer_profiles(read_results(folder))
    assert [row.row for row in profile.weights] == ["ws-acoustic", "ws-linguistic"]
    assert profile.mi_bits is not None
    page, text = build_report(folder).read_text(), write_markdown(folder).read_text()
    assert 'id="robustness"' in page
    assert f"{result.average[0].distance_sd:.3f} [" in text
    assert "correlation with the distance over the 3 layers: acoustic weights " in text
    assert "nothing is tested" in text
    # Before and after fine-tuning: two lines for each curve.
    for name in ("before", "after"):
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("cache"))
    png, svg = draw("cn", [tmp_path / "before", tmp_path / "after"], tmp_path / "two")
    assert png.name == "figurecn.png"
    drawing = svg.read_text()
    for label in ("tiny (before)", "tiny (after)", "acoustic weights", "linguistic weights"):
        assert drawing.count(f">{label}<") == 1
    assert ">MI (bits)<" in drawing
    assert ">Weight<" in drawing


def test_the_command(phonemi: Callable[..., Any], corpus: Any, encoder: Path, tmp_path: Path) -> None:
    settings = [word for setting in corpus.settings for word in ("--set", setting)]
    words = ["information", "--measure", "cn-distance", "--run", tmp_path / "cn", "--model", encoder, *settings]
    outcome = phonemi(*words)
    assert outcome.code == 0, outcome.stderr
    shown = outcome.stdout.splitlines()
    assert shown[0].startswith("Clean-noisy distance of tiny, by layer and SNR in dB: in standard")
    assert shown[-1] == str(tmp_path / "cn" / "results.md")
    assert not (tmp_path / "cn" / "information.json").exists()
    again = phonemi(*words)
    assert again.stdout == outcome.stdout
    assert "done already" in again.stderr
    assert phonemi("information", "--measure", "cosine").code == 2


def test_rank_correlation_is_that_on_paper() -> None:
    distance = np.array([[0.5, 0.4, 0.3, 0.2]] * 3)
    profile = LayerProfile("x", distance, None, [RowWeights(row="ws-acoustic", weights=(0.4, 0.3, 0.1, 0.2))])
    assert profile.correlation(profile.weights[0].weights) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert np.isnan(profile.correlation([0.25] * 4))
    assert np.isnan(profile.correlation([0.5, 0.5]))
    (first, second) = robustness_sentences([profile])
    assert first == "Noise moves x most at layer 0 (0.50 standard deviations of a state), least at layer 3 (0.20)."
    assert second.startswith(
        "Spearman's correlation with the distance over the 4 layers: acoustic weights +0.80. That is few"
    )

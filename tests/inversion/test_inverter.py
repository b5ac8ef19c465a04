"""The inverter that users load: recordings of any length and rate to tracks, and the folder that it lies in."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import truncate, uniform_noise

from phonemi import audio
from phonemi.aggregations import SingleLayer, WeightedSum
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.waveform_enhancer import WaveformEnhancer
from phonemi.errors import AudioError, ModelError
from phonemi.inversion import inverter as module
from phonemi.inversion.inverter import INVERTER, SILENT, Inverter
from phonemi.inversion.networks import LinearInverter, build_inverter_network
from phonemi.inversion.smoothing import smooth
from phonemi.inversion.tracks import Normalisation
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

RATE = 16_000
NAMES, UNITS = ("LA", "PER", "F0"), ("mm", "0..1", "Hz")
MEAN, REACH = np.array([8.0, 0.5, 120.0]), np.array([4.0, 0.5, 60.0])


def new_encoder(seed: int = 0) -> MelTransformer:
    torch.manual_seed(seed)
    sizes = {"mels": 8, "dim": 16, "blocks": 1, "heads": 2, "feedforward": 8, "position_kernel": 3}
    return MelTransformer(MelTransformerConfig(**sizes)).requires_grad_(False)


def new_inverter(encoder: MelTransformer | None = None, kind: str = "gru", gain: float = 1.0) -> Inverter:
    """Untrained; with a larger `gain` its estimate moves as much as one that has learned."""
    encoder = encoder or new_encoder()
    torch.manual_seed(1)
    sizes = {"hidden": 8, "heads": 2} if kind == "gru" else {}
    network = build_inverter_network({"kind": kind, "dim": encoder.dim, "variables": 3, **sizes})
    with torch.no_grad():
        network.output.weight.mul_(gain)
    return Inverter(encoder, WeightedSum(encoder.layers), network, Normalisation(NAMES, UNITS, MEAN, REACH), "wee")


@pytest.fixture(scope="module")
def inverter() -> Inverter:
    return new_inverter()


@pytest.fixture
def stored(inverter: Inverter, tmp_path: Path) -> Path:
    inverter.save_pretrained(tmp_path / "stored", {"row": "inversion"})
    return tmp_path / "stored"


@pytest.fixture
def within(tmp_path: Path) -> Path:
    """The folder of an enhancer, with the inverter that shares its encoder."""
    encoder = new_encoder(2)
    network = WaveformEnhancer(encoder.dim, channels=4, most_channels=8, resample=1)
    Enhancer(encoder, WeightedSum(encoder.layers), network).save_pretrained(tmp_path / "joint")
    new_inverter(encoder).save_pretrained(tmp_path / "joint" / INVERTER)
    return tmp_path / "joint"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("duration_s", [0.0005, 0.01, 0.024, 0.5, 1.003])
def test_there_is_a_frame_for_every_10_ms_that_begin_in_the_recording(
    inverter: Inverter, rate: int, duration_s: float
) -> None:
    samples = round(duration_s * rate)
    tracks = inverter.invert(uniform_noise(samples), rate)
    # A recording that is resampled to 16 kHz may end one sample earlier or later, and a frame with it.
    expected = {int(np.ceil(100 * (samples + more) / rate - 1e-9)) for more in ((0,) if rate == 16_000 else (-1, 0, 1))}
    assert len(tracks.values) in expected
    assert (tracks.names, tracks.units, tracks.reasons) == (NAMES, UNITS, {})
    assert np.isfinite(tracks.column("LA")).all()


def test_another_rate_gives_the_same_tracks() -> None:
    time_s = np.arange(3 * 48_000) / 48_000
    chirp = (0.3 * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)).astype(np.float32)
    inverter = new_inverter()
    at_48, at_16 = inverter.invert(chirp, 48_000), inverter.invert(chirp[::3], 16_000)
    assert np.abs(at_48.column("LA") - at_16.column("LA"))[10:-10].max() < 0.05


def test_chunks_of_what_hears_one_frame_at_a_time_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder = Log1p()
    network = LinearInverter(encoder.dim, 3, encoder.hop)
    inverter = Inverter(encoder, SingleLayer(1, 0), network, Normalisation(NAMES, UNITS, MEAN, REACH))
    recording = uniform_noise(5 * RATE + 1234)
    whole = inverter.invert(recording, RATE).column("LA")
    for chunk_s in (1.0, 1.57, 2.5):
        monkeypatch.setattr(module, "CHUNK_S", chunk_s)
        np.testing.assert_allclose(inverter.invert(recording, RATE).column("LA"), whole, atol=1e-3)


def test_chunks_of_a_long_recording_are_nearly_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention reaches over all of it, and what is a second away from a seam hardly depends on that."""
    inverter, rng = new_inverter(gain=5.0), np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.01, 1, 390), RATE // 10).astype(np.float32)
    recording = loudness * uniform_noise(len(loudness))
    chunks = inverter.invert(recording, RATE).column("LA")
    monkeypatch.setattr(module, "CHUNK_S", 100.0)
    whole = inverter.invert(recording, RATE).column("LA")
    assert len(chunks) == len(whole) == 3900
    assert np.ptp(whole) > 2.0, "mm: it must move for this to say anything"
    away = np.abs(np.arange(3900) - 2000) >= 100
    assert np.abs(chunks - whole)[away].max() < 0.15 * np.ptp(whole)
    assert np.abs(chunks - whole).mean() < 0.05 * np.ptp(whole)
    jump = np.abs(chunks[2000] - chunks[1999])
    assert jump <= 1.5 * np.abs(np.diff(whole)).max(), "no jump at a seam that is not in the whole"


def test_digital_silence_has_no_tracks_and_says_why(inverter: Inverter, tmp_path: Path) -> None:
    audio.save(tmp_path / "silence.wav", np.zeros(4000), 8_000)
    for tracks in (inverter.invert(np.zeros(8000), RATE), inverter.invert_file(tmp_path / "silence.wav")):
        assert tracks.values.shape == (50, 3)
        assert np.isnan(tracks.values).all()
        assert tracks.reasons == dict.fromkeys(NAMES, SILENT)


def test_the_pitch_is_not_known_without_voice() -> None:
    inverter = new_inverter(gain=5.0)
    recording = np.repeat([0.001, 0.5] * 5, 1600).astype(np.float32) * uniform_noise(16_000)
    tracks = inverter.invert(recording, RATE)
    voiced = tracks.column("PER") >= 0.5
    assert 0 < voiced.sum() < len(voiced), "some of each"
    assert (np.isfinite(tracks.column("F0")) == voiced).all()
    assert np.isfinite(tracks.column("LA")).all()


def test_the_estimate_is_in_units_of_a_typical_speaker(inverter: Inverter) -> None:
    recording = uniform_noise(8000)
    with torch.inference_mode():
        normalised = inverter(torch.from_numpy(recording)[None])[0].numpy()
    np.testing.assert_allclose(inverter.invert(recording, RATE).column("LA"), 8 + 4 * normalised[:, 0], rtol=1e-5)


def test_smoothing_is_that_of_the_normalised_estimate() -> None:
    inverter = new_inverter(gain=5.0)
    recording = uniform_noise(16_000)
    with torch.inference_mode():
        normalised = inverter(torch.from_numpy(recording)[None])[0].numpy()
    rough, smoothed = (inverter.invert(recording, RATE, smooth=wanted).column("LA") for wanted in (False, True))
    np.testing.assert_allclose(smoothed, 8 + 4 * smooth(normalised)[:, 0], rtol=1e-5)
    assert np.abs(np.diff(smoothed, 2)).mean() < np.abs(np.diff(rough, 2)).mean()


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 800), np.float32), r"expected floats \[sample\], found float32 \[2, 800\]"),
        (np.zeros(0, np.float32), r"expected floats \[sample\], found float32 \[0\]"),
        (np.zeros(800, np.int16), r"expected floats \[sample\], found int16 \[800\]"),
        (np.array([0.0, np.nan] * 400), "samples that are not finite"),
        (torch.full((800,), torch.inf), "samples that are not finite"),
    ],
)
def test_what_is_no_recording_is_refused_in_one_line(
    inverter: Inverter, waveform: np.ndarray | torch.Tensor, message: str
) -> None:
    with pytest.raises(AudioError, match=message) as error:
        inverter.invert(waveform, RATE)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(inverter: Inverter, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"notes\.wav") as error:
        inverter.invert_file(tmp_path / "notes.wav")
    assert "\n" not in str(error.value)


def test_a_file_is_inverted_as_its_samples_are(inverter: Inverter, tmp_path: Path) -> None:
    recording = uniform_noise(2, 22_050)
    audio.save(tmp_path / "stereo.wav", recording, 44_100)
    of_file = inverter.invert_file(tmp_path / "stereo.wav").values
    np.testing.assert_allclose(of_file, inverter.invert(recording.mean(0), 44_100).values, atol=0.02)


def test_a_network_that_does_not_fit_is_refused() -> None:
    encoder = new_encoder()
    with pytest.raises(ModelError, match=r"takes 5 features and gives 3 variables; the encoder has 16 features"):
        Inverter(encoder, WeightedSum(2), LinearInverter(5, 3), Normalisation(NAMES, UNITS, MEAN, REACH))
    with pytest.raises(ModelError, match=r"gives 2 variables.*3 variables are named"):
        Inverter(encoder, WeightedSum(2), LinearInverter(16, 2), Normalisation(NAMES, UNITS, MEAN, REACH))


@pytest.mark.parametrize("kind", ["gru", "linear"])
def test_a_stored_one_is_the_same_to_the_bit_wherever_its_folder_is(kind: str, tmp_path: Path) -> None:
    inverter, recording = new_inverter(kind=kind), uniform_noise(9000)
    inverter.save_pretrained(tmp_path / "here", {"row": "inversion"})
    shutil.move(tmp_path / "here", tmp_path / "there")
    loaded = Inverter.from_pretrained(tmp_path / "there")
    assert loaded.invert(recording, RATE).values.tobytes() == inverter.invert(recording, RATE).values.tobytes()
    assert (loaded.name, loaded.facts, loaded.variables) == ("wee", {"row": "inversion"}, NAMES)
    assert not loaded.training
    loaded.save_pretrained(tmp_path / "again")
    for file in ("config.json", "model.safetensors", "encoder/model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_half_precision_takes_half_the_bytes(inverter: Inverter, stored: Path, tmp_path: Path) -> None:
    inverter.save_pretrained(tmp_path / "half", half=True)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (stored, tmp_path / "half")]
    assert sizes[1] < 0.65 * sizes[0]
    loaded = Inverter.from_pretrained(tmp_path / "half")
    assert {values.dtype for values in loaded.network.parameters()} == {torch.float32}
    recording = uniform_noise(9000)
    np.testing.assert_allclose(
        loaded.invert(recording, RATE).column("LA"), inverter.invert(recording, RATE).column("LA"), atol=0.02
    )


def test_inside_an_enhancer_there_is_no_second_encoder(within: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in (within / INVERTER).iterdir()) == ["config.json", "model.safetensors"]
    recording = uniform_noise(9000)
    expected = new_inverter(new_encoder(2)).invert(recording, RATE).values
    moved = shutil.move(within, tmp_path / "moved")
    for name in (moved, Path(moved) / INVERTER, str(moved)):
        loaded = Inverter.from_pretrained(name)
        assert loaded.invert(recording, RATE).values.tobytes() == expected.tobytes()
    assert isinstance(Enhancer.from_pretrained(moved).network, WaveformEnhancer)


def test_inside_an_enhancer_of_another_encoder_it_is_not_stored(within: Path) -> None:
    """It would be loaded with that one, and hear nothing."""
    with pytest.raises(ModelError, match="another encoder"):
        new_inverter(new_encoder(3)).save_pretrained(within / INVERTER)


@pytest.mark.parametrize("file", ["model.safetensors", "encoder/model.safetensors"])
def test_a_damaged_file_is_noticed(stored: Path, file: str) -> None:
    truncate(stored / file, 0.9)
    with pytest.raises(ModelError, match=re.escape(f"loading inverter {stored}: {file} is not the one")) as error:
        Inverter.from_pretrained(stored)
    assert "\n" not in str(error.value)


def test_a_damaged_encoder_of_the_enhancer_around_is_noticed(within: Path) -> None:
    truncate(within / "encoder" / "model.safetensors", 0.9)
    with pytest.raises(ModelError, match=r"encoder/model\.safetensors is not the one"):
        Inverter.from_pretrained(within)


def test_an_inverter_that_was_taken_out_of_its_enhancer_says_so(within: Path, tmp_path: Path) -> None:
    shutil.move(within / INVERTER, tmp_path / "alone")
    with pytest.raises(ModelError) as error:
        Inverter.from_pretrained(tmp_path / "alone")
    assert "\n" not in str(error.value)
    assert "loading inverter" in str(error.value)


@pytest.mark.parametrize("lost", ["variables", "inverter", "aggregation", "representation", "name"])
def test_a_description_that_lacks_something_is_one_line(stored: Path, lost: str) -> None:
    settings = json.loads((stored / "config.json").read_text())
    del settings[lost]
    (stored / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"config\.json does not describe one") as error:
        Inverter.from_pretrained(stored)
    assert "\n" not in str(error.value)


def test_what_is_no_inverter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no inverter 'absent': expected one that ships"):
        Inverter.from_pretrained("absent")
    new_encoder().save(tmp_path / "encoder")
    with pytest.raises(ModelError, match="it is a 'phonemi-mel-transformer' model, not a 'phonemi-inverter'"):
        Inverter.from_pretrained(tmp_path / "encoder")
    with pytest.raises(ModelError, match="default is an enhancer without an inverter"):
        Inverter.from_pretrained("default")


def test_items_of_a_batch_are_what_they_are_alone(inverter: Inverter) -> None:
    recordings = torch.from_numpy(uniform_noise(2, 8000))
    recordings[1, 5000:] = 0
    with torch.inference_mode():
        together = inverter(recordings, torch.tensor([8000, 5000]))
        alone = inverter(recordings[1:, :5000])
    torch.testing.assert_close(together[1, :32], alone[0], atol=1e-5, rtol=1e-4)
    assert not together[1, 32:].any()

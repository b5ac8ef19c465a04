"""Mockingjay and TERA against references that are written a second time here, in plain numpy."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf
from sounds import noise

from phonemi.errors import ModelError
from phonemi.representations.acoustic_features import deltas, fbank_frames, mel_frames, standardise
from phonemi.representations.base import at_50_hz
from phonemi.representations.names import load_representation
from phonemi.representations.tera import Tera, TeraConfig, position_table
from phonemi.signal import ssl_frames

TINY = TeraConfig(mels=20, dim=16, blocks=3, heads=2, feedforward=24)
FRONT_ENDS = ["mel", "fbank"]


def tiny(**changes) -> Tera:
    """Random weights that are large enough for every part to show."""
    torch.manual_seed(0)
    model = Tera(replace(TINY, **changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1) / 2, std=0.25)
    return model


def speech(samples: int, rows: int = 1) -> torch.Tensor:
    """Noise that gets louder and darker, so that no two frames are alike."""
    ramp = torch.linspace(0.1, 1, samples)
    smooth = torch.nn.functional.avg_pool1d(noise(rows, samples), 9, 1, 4)
    return ramp * smooth + (1 - ramp) * noise(rows, samples, seed=2)


def reference_mel(waveform: np.ndarray, mels: int, padding: int = 0) -> np.ndarray:
    """Log-mel power, frame by frame, by the explicit sum of the discrete Fourier transform."""
    level = 10 ** (-25 / 20) / (np.sqrt(np.mean(waveform**2)) + 1e-10)
    mirrored = np.pad(np.pad(waveform * level, (0, padding)), 200, mode="reflect")
    n = np.arange(400)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400) * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))

    def hz(mel: float) -> float:
        return 700 * (10 ** (mel / 2595) - 1)

    step = 2595 * np.log10(1 + 8000 / 700) / (mels + 1)
    rows = []
    for k in range(1 + (len(waveform) + padding) // 160):
        power = np.abs(basis @ mirrored[160 * k : 160 * k + 400]) ** 2
        row = []
        for band in range(mels):
            low, centre, high = (hz(step * (band + i)) for i in range(3))
            weights = [
                max(0, min((40 * b - low) / (centre - low), (high - 40 * b) / (high - centre))) for b in range(201)
            ]
            row.append(np.log(np.dot(weights, power) + 1e-10))
        rows.append(row)
    return np.array(rows)


def reference_fbank(waveform: np.ndarray, mels: int) -> np.ndarray:
    """Kaldi's filter bank and two orders of deltas."""
    n = np.arange(400)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(256), n) / 512)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * n / 399)) ** 0.85

    def mel(hz: float) -> float:
        return 1127 * np.log(1 + hz / 700)

    step = (mel(8000) - mel(20)) / (mels + 1)
    rows = []
    for k in range((len(waveform) - 400) // 160 + 1):
        frame = waveform[160 * k : 160 * k + 400]
        frame = frame - frame.mean()
        frame = np.array([frame[i] - 0.97 * frame[max(0, i - 1)] for i in range(400)]) * window
        power = np.abs(basis @ frame) ** 2
        row = []
        for band in range(mels):
            low = mel(20) + band * step
            weights = [
                max(0, min((mel(31.25 * b) - low) / step, (low + 2 * step - mel(31.25 * b)) / step)) for b in range(256)
            ]
            row.append(np.log(max(np.dot(weights, power), 2.0**-23)))
        rows.append(row)

    def slope(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
        return np.array([padded[t : t + 5].T @ [-2, -1, 0, 1, 2] / 10 for t in range(len(values))])

    values = np.array(rows)
    return np.concatenate([values, slope(values), slope(slope(values))], axis=1)


def reference_standardised(frames: np.ndarray) -> np.ndarray:
    return (frames - frames.mean(0)) / (frames.std(0, ddof=1) + 1e-10)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return weight * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) + bias


def reference_states(model: Tera, frames: np.ndarray, attended: int | None = None) -> np.ndarray:
    """Hidden states of one sequence, [frame, bin] -> [layer, frame, dim]; frames from `attended` on are padding."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    config = model.config
    hidden = linear("projection", frames)
    for position in range(len(frames)):
        for j in range(config.dim):
            angle = position / 10000 ** (2 * (j // 2) / config.dim)
            hidden[position, j] += np.cos(angle) if j % 2 else np.sin(angle)
    hidden = norm("projection_norm", hidden)
    states = [hidden]
    size = config.dim // config.heads

    def attention(block: str, x: np.ndarray) -> np.ndarray:
        query, key, value = (linear(f"{block}.{part}", x) for part in ("query", "key", "value"))
        mixed = []
        for head in range(config.heads):
            own = slice(size * head, size * (head + 1))
            scores = query[:, own] @ key[:, own].T / np.sqrt(size)
            scores[:, attended:] += -10000 if attended is not None else 0
            scores = np.exp(scores - scores.max(1, keepdims=True))
            mixed.append(scores / scores.sum(1, keepdims=True) @ value[:, own])
        return linear(f"{block}.attention_output", np.concatenate(mixed, 1))

    def perceptron(block: str, x: np.ndarray) -> np.ndarray:
        inner = linear(f"{block}.feedforward_input", x)
        return linear(f"{block}.feedforward_output", inner * (1 + erf(inner / np.sqrt(2))) / 2)

    for number in range(config.blocks):
        block = f"blocks.{number}"
        if config.pre_norm:
            hidden = hidden + attention(block, norm(f"{block}.attention_norm", hidden))
            hidden = hidden + perceptron(block, norm(f"{block}.feedforward_norm", hidden))
        else:
            hidden = norm(f"{block}.attention_norm", hidden + attention(block, hidden))
            hidden = norm(f"{block}.feedforward_norm", hidden + perceptron(block, hidden))
        states.append(hidden)
    if config.pre_norm:
        states = [norm(f"state_norms.{i}", state) for i, state in enumerate(states)]
    return np.stack(states)


def assert_near(values: torch.Tensor, expected: np.ndarray, atol: float = 1e-5) -> None:
    torch.testing.assert_close(values.double(), torch.from_numpy(np.asarray(expected)), atol=atol, rtol=1e-5)


@pytest.mark.parametrize("samples", [201, 1759, 1760])
def test_log_mel_frames(samples):
    waveform = speech(samples)[0]
    assert_near(mel_frames(waveform, 80), reference_mel(waveform.double().numpy(), 80), 1e-3)
    assert_near(mel_frames(waveform, 20, 240), reference_mel(waveform.double().numpy(), 20, 240), 1e-3)


@pytest.mark.parametrize("samples", [400, 1759, 1760])
def test_filter_bank_frames(samples):
    waveform = speech(samples)[0]
    frames = fbank_frames(waveform, 80)
    assert frames.shape == ((samples - 400) // 160 + 1, 240)
    assert_near(frames, reference_fbank(waveform.double().numpy(), 80), 2e-3)


def test_deltas_of_a_parabola():
    t = torch.arange(10.0)[:, None]
    torch.testing.assert_close(deltas(t**2)[2:-2], 2 * t[2:-2])


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("pre_norm", [False, True])
def test_states_are_those_of_the_reference(front_end, pre_norm):
    model = tiny(front_end=front_end, pre_norm=pre_norm)
    waveform = speech(2000)
    reference = reference_mel if front_end == "mel" else reference_fbank
    frames = reference_standardised(reference(waveform[0].double().numpy(), 20))
    hidden = model(waveform)
    assert hidden.states.shape == (4, 1, 13 if front_end == "mel" else 11, 16)
    assert_near(hidden.states[:, 0], reference_states(model, frames), 2e-3)  # the logarithm of faint bins in float32
    features = model.features(waveform)
    assert_near(model.encode(features).states[:, 0], reference_states(model, features[0].double().numpy()))


def test_the_blocks_are_those_of_transformers():
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    model = tiny()
    config = BertConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=24,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
        attn_implementation="eager",
    )
    hidden = model(speech(2000)).states
    for number, block in enumerate(model.blocks):
        layer = BertLayer(config).eval()
        parts = {
            "attention.self.query": block.query,
            "attention.self.key": block.key,
            "attention.self.value": block.value,
            "attention.output.dense": block.attention_output,
            "attention.output.LayerNorm": block.attention_norm,
            "intermediate.dense": block.feedforward_input,
            "output.dense": block.feedforward_output,
            "output.LayerNorm": block.feedforward_norm,
        }
        for name, part in parts.items():
            layer.get_submodule(name).load_state_dict(part.state_dict())
        output = layer(hidden[number])
        output = output[0] if isinstance(output, tuple) else output
        torch.testing.assert_close(hidden[number + 1], output, atol=1e-5, rtol=1e-5)


def test_sizes_of_the_published_ones():
    tera = Tera(TeraConfig())
    assert sum(parameter.numel() for parameter in tera.parameters()) == 80 * 768 + 3 * 768 + 3 * 7_087_872
    assert (tera.layers, tera.dim, tera.hop, tera.first_centre) == (4, 768, 160, 0)
    assert Tera(TeraConfig(front_end="fbank", dim=24)).projection.in_features == 240
    assert Tera(TeraConfig(blocks=12, dim=24)).layers == 13


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@given(samples=st.integers(400, 20_000))
def test_frames(front_end, samples):
    model = Tera(replace(TINY, front_end=front_end, blocks=1)).eval()
    hidden = model(torch.zeros(1, samples))
    assert model.frames(samples) == hidden.states.shape[2] == int(hidden.lengths[0])
    assert hidden.states.isfinite().all()
    moved = at_50_hz(hidden, model.hop, samples, model.first_centre)
    assert moved.states.shape[2] == int(moved.lengths[0]) == ssl_frames(samples)


@pytest.mark.parametrize(("front_end", "shortest", "frames"), [("mel", 201, 2), ("fbank", 400, 1)])
def test_the_shortest_input(front_end, shortest, frames):
    model = tiny(front_end=front_end)
    states = model(speech(shortest)).states
    assert model.frames(shortest) == states.shape[2] == frames
    assert states.isfinite().all()
    assert model.frames(shortest - 1) == 0
    with pytest.raises(ModelError, match=f"{shortest - 1} samples is too short"):
        model(torch.zeros(1, shortest - 1))
    with pytest.raises(ModelError, match=f"{shortest - 1} samples is too short"):
        model(torch.zeros(2, 800), torch.tensor([800, shortest - 1]))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("longest", [0, 1500, 5, 8])
def test_batch_equals_single_whatever_lies_in_the_padding(front_end, longest):
    model = tiny(front_end=front_end, longest=longest)
    waveforms, lengths = speech(4000, 4), torch.tensor([2345, 3999, 400, 1500])
    hidden = model(waveforms, lengths)
    assert hidden.states.shape == (4, 4, model.frames(4000), 16)
    for row, length in enumerate(lengths.tolist()):
        alone = model(waveforms[row : row + 1, :length]).states[:, 0]
        torch.testing.assert_close(hidden.states[:, row, : alone.shape[1]], alone, atol=1e-5, rtol=1e-4)
        assert int(hidden.lengths[row]) == alone.shape[1] == model.frames(length)
        assert not hidden.states[:, row, alone.shape[1] :].any()


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_long_inputs_are_encoded_in_equal_parts(front_end):
    model = tiny(front_end=front_end, longest=10)
    whole = model.features(speech(4000))
    frames = whole.shape[1]  # 26 or 23: parts of 9, 9, 8 or of 8, 8, 7
    size = -(-frames // 3)
    expected = [reference_states(model, part) for part in np.split(whole[0].double().numpy(), [size, 2 * size])]
    assert_near(model(speech(4000)).states[:, 0], np.concatenate(expected, axis=1))
    at_the_limit = tiny(front_end=front_end, longest=frames)
    torch.testing.assert_close(at_the_limit(speech(4000)).states, tiny(front_end=front_end)(speech(4000)).states)


def test_positions_have_no_end():
    table = position_table(30_000, 8)
    assert table[29_999, 3].item() == pytest.approx(np.cos(29_999 / 10000 ** (2 / 8)), abs=1e-6)


@pytest.mark.parametrize("longest", [1500, 10])
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_padded_batch_as_s3prl_encodes_it(front_end, longest):
    model = tiny(front_end=front_end, longest=longest)
    waveforms, lengths = speech(4200, 3), [2345, 4000, 1500]
    hidden = model.padded(waveforms, torch.tensor(lengths))
    frames = model.frames(4000)
    assert hidden.states.shape == (4, 3, model.frames(4200), 16)
    parts = -(-frames // longest)
    size = -(-frames // parts)
    for row, length in enumerate(lengths):
        waveform = waveforms[row, :length].double().numpy()
        if front_end == "mel":
            count = round(length / (4000 / frames))
            features = reference_mel(waveform, 20, 4000 - length)[:count]
        else:
            features = reference_fbank(waveform, 20)
            count = len(features)
        features = np.pad(reference_standardised(features), ((0, frames - count), (0, 0)))
        own = model.frames(length)
        starts = range(0, frames, size)
        expected = [reference_states(model, features[s : s + size], max(0, min(count - s, size))) for s in starts]
        assert_near(hidden.states[:, row, :own], np.concatenate(expected, axis=1)[:, :own], 5e-3)
        assert not hidden.states[:, row, own:].any()
        assert int(hidden.lengths[row]) == own
    alone = model.padded(waveforms[:1, :2345], torch.tensor([2345]))
    torch.testing.assert_close(alone.states, model(waveforms[:1, :2345]).states, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_silence_has_features_of_zero(front_end):
    model = tiny(front_end=front_end)
    waveforms = torch.zeros(1, 48_123)
    assert not model.features(waveforms).any()
    assert model(waveforms).states.isfinite().all()
    assert model.padded(waveforms.repeat(2, 1), torch.tensor([48_123, 7000])).states.isfinite().all()
    half = torch.cat([torch.zeros(1, 8000), speech(8000)], dim=1)
    assert model(half).states.isfinite().all()


def test_the_level_does_not_matter_to_log_mel():
    model = tiny()
    for gain in (1e-3, 30):
        torch.testing.assert_close(model(gain * speech(4000)).states, model(speech(4000)).states, atol=1e-3, rtol=0)


def test_standardised_bins():
    frames = 3 + 2 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    frames[:, 1] = -23.02585
    expected = (frames - frames.mean(0)) / (frames.std(0) + 1e-10)
    expected[:, 1] = 0
    torch.testing.assert_close(standardise(frames), expected, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_alone():
    model = tiny(dropout=0.5, attention_dropout=0.5)
    waveforms = speech(4000)
    torch.testing.assert_close(model(waveforms).states, model(waveforms).states)
    model.train()
    assert not torch.equal(model(waveforms).states, model(waveforms).states)
    model.freeze().train()
    assert torch.equal(model(waveforms).states, model(waveforms).states)


def test_bfloat16_gives_nearly_the_same_states():
    model, waveforms, lengths = tiny(), speech(4000, 2), torch.tensor([4000, 2345])
    expected = model(waveforms, lengths).states
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.features(waveforms), tiny().features(waveforms))
        states = model(waveforms, lengths).states
    assert (states - expected).abs().mean() < 0.05


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True, "front_end": "fbank", "longest": 7}])
def test_a_folder_and_settings_give_the_same_encoder(tmp_path, changes):
    model = tiny(**changes)
    model.save(tmp_path / "encoder")
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert config["model_type"] == "phonemi-tera"
    loaded = load_representation(tmp_path / "encoder")
    assert isinstance(loaded, Tera)
    assert loaded.trainable_from is None
    assert not loaded.training
    assert torch.equal(loaded(speech(4000)).states, model(speech(4000)).states)
    again = load_representation(json.loads(json.dumps(loaded.settings())))
    assert again.settings() == loaded.settings()
    assert again.is_modified
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(speech(4000)).states, model(speech(4000)).states)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"front_end": "mfcc"}, "front_end 'mfcc' must be one of mel, fbank"),
        ({"heads": 3}, "a multiple of heads 3"),
        ({"longest": -1}, "longest -1 not below 0"),
        ({"colour": 1}, r"unknown \['colour'\]"),
        ({"blocks": 4}, r"blocks\.3\.\S+ is missing"),
    ],
)
def test_folders_that_do_not_fit(tmp_path, change, message):
    tiny().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=message):
        load_representation(tmp_path)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_blocks_of_parameters(pre_norm):
    model = tiny(pre_norm=pre_norm)
    blocks = {name: model.block_of(name) for name, _ in model.named_parameters()}
    assert blocks["projection.weight"] == blocks["projection_norm.bias"] == 0
    assert blocks["blocks.0.query.weight"] == 1
    assert blocks["blocks.2.feedforward_norm.bias"] == 3
    if pre_norm:
        assert (blocks["state_norms.0.weight"], blocks["state_norms.3.weight"]) == (0, 3)
    assert set(blocks.values()) == {0, 1, 2, 3}

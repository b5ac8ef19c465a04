"""phonemi.enhancers.enhancer: what comes in decides shape, rate and type of what comes out; folders come back whole."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sounds import noise

from phonemi.aggregations import DynamicWeightedSum, SingleLayer, WeightedSum
from phonemi.enhancers import pretrained as module
from phonemi.enhancers.enhancer import Enhancer
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.errors import AudioError, ModelError
from phonemi.representations import stored
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.representations.names import load_representation

KINDS = ["own", "hubert", "log1p"]


def mel_transformer(blocks=1):
    return MelTransformer(
        MelTransformerConfig(mels=8, dim=16, blocks=blocks, heads=2, feedforward=8, position_kernel=3)
    )


def hubert_folder(folder, layers=1):
    from transformers import HubertConfig, HubertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 8}
    sizes |= {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    HubertModel(HubertConfig(**sizes)).save_pretrained(folder)
    return str(folder)


def joined(representation, seed=0, **options):
    torch.manual_seed(seed)
    if representation is None:
        return Enhancer(None, None, MaskEnhancer(0, True, hidden=4, layers=1), **options)
    aggregation = DynamicWeightedSum(representation.layers, representation.dim)
    mask_enhancer = MaskEnhancer(representation.dim, True, representation.hop, hidden=4, layers=1)
    return Enhancer(representation.requires_grad_(False), aggregation, mask_enhancer, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One enhancer of each kind."""
    torch.manual_seed(0)
    hubert = load_representation(hubert_folder(tmp_path_factory.mktemp("hubert")))
    return {"own": joined(mel_transformer()), "hubert": joined(hubert), "log1p": joined(None)}


DTYPES = [np.float16, np.float32, np.float64, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@given(
    sample_rate=st.sampled_from([8000, 16_000, 22_050, 44_100, 48_000]) | st.integers(8000, 48_000),
    channels=st.sampled_from([None, 1, 2, 3]),
    samples=st.integers(1, 20) | st.integers(1, 3000),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS),
)
def test_shape_type_and_length_are_kept(made, sample_rate, channels, samples, dtype, kind):
    waveform = noise(samples) if channels is None else noise(channels, samples)
    waveform = waveform.to(dtype) if isinstance(dtype, torch.dtype) else waveform.numpy().astype(dtype)
    before = waveform.clone() if isinstance(waveform, torch.Tensor) else waveform.copy()
    enhanced = made[kind].enhance(waveform, sample_rate)
    assert type(enhanced) is type(waveform)
    assert (enhanced.dtype, enhanced.shape) == (waveform.dtype, waveform.shape)
    assert (waveform == before).all()
    assert np.isfinite(np.asarray(enhanced.tolist())).all()


def test_loudness_and_timing_survive_the_resampling():
    identity = joined(None)
    identity.mask_enhancer.output.bias.data += 1000
    times_s = np.arange(5000) / 44_100
    tone = np.sin(2 * np.pi * 1000 * times_s) * np.hanning(5000)
    np.testing.assert_allclose(identity.enhance(tone, 44_100), tone, atol=1e-3)
    np.testing.assert_allclose(identity.enhance(tone, 16_000), tone, atol=1e-5)


@given(
    shape=st.sampled_from([(1,), (700,), (2, 900), (0,), (2, 0), (0, 5)]),
    sample_rate=st.sampled_from([8000, 16_000, 48_000]),
    kind=st.sampled_from(KINDS),
)
def test_digital_silence_stays_digital_silence(made, shape, sample_rate, kind):
    enhanced = made[kind].enhance(np.zeros(shape, np.float32), sample_rate)
    assert enhanced.shape == shape
    assert not enhanced.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample_rate", [16_000, 48_000])
def test_silent_parts(made, kind, sample_rate):
    recording = noise(3, 9000).numpy()
    recording[1] = 0
    recording[0, :3000] = recording[2, 6000:] = 0
    enhanced = made[kind].enhance(recording, sample_rate)
    assert np.isfinite(enhanced).all()
    assert not enhanced[1].any()
    # One window, and the filter of the resampler.
    assert np.abs(enhanced[0, :1000]).max() < 1e-6
    assert np.abs(enhanced[2, 8000:]).max() < 1e-6
    assert all(enhanced[row].any() for row in (0, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_channels_are_enhanced_apart(made, kind):
    recording = noise(3, 4000).numpy()
    together = made[kind].enhance(recording, 22_050)
    apart = np.stack([made[kind].enhance(channel, 22_050) for channel in recording])
    np.testing.assert_allclose(together, apart, atol=1e-6)


@given(
    samples=st.lists(st.integers(1, 3000), min_size=2, max_size=4),
    padding=st.sampled_from([0, 500]),
    kind=st.sampled_from(KINDS),
)
def test_batch_equals_single(made, samples, padding, kind):
    # What lies beyond an item must not be heard, even if it is not zero.
    noisy = noise(len(samples), max(samples) + padding)
    with torch.no_grad():
        enhanced = made[kind](noisy, torch.tensor(samples))
        for row, n in enumerate(samples):
            alone = made[kind](noisy[row : row + 1, :n])[0]
            torch.testing.assert_close(enhanced[row, :n], alone, atol=1e-5, rtol=0)
            assert not enhanced[row, n:].any()


def test_two_threads_get_what_one_gets(made):
    recordings = [noise(8000 + 500 * seed, seed=seed) for seed in range(8)]
    alone = [made["own"].enhance(recording, 16_000) for recording in recordings]
    with ThreadPoolExecutor(2) as pool:
        for found, expected in zip(
            pool.map(made["own"].enhance, recordings, [16_000] * len(recordings)), alone, strict=True
        ):
            torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_new_enhancer_has_no_dropout():
    enhancer = joined(mel_transformer())
    assert not enhancer.training
    assert torch.equal(enhancer.enhance(noise(4000), 16_000), enhancer.enhance(noise(4000), 16_000))


def test_result_belongs_to_the_caller(made):
    waveform = noise(500).requires_grad_()
    enhanced = made["log1p"].enhance(waveform, 16_000)
    enhanced *= 2  # an inference tensor would refuse
    assert not enhanced.requires_grad
    silence = np.zeros(500, np.float32)
    assert made["log1p"].enhance(silence, 16_000) is not silence


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_counted(made, bad):
    waveform = np.zeros((2, 700))
    waveform[0, 3] = waveform[1, 5:7] = bad
    for recording in (waveform, torch.from_numpy(waveform)):
        with pytest.raises(AudioError, match="3 of 1400 samples are NaN or infinite"):
            made["own"].enhance(recording, 16_000)
    with pytest.raises(AudioError, match="1 of 2 samples"):  # infinite as float32
        made["own"].enhance(np.array([1e300, 0.0]), 16_000)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, bool, np.complex64, torch.int16])
def test_integers_are_refused(made, dtype):
    waveform = torch.ones(500, dtype=dtype) if isinstance(dtype, torch.dtype) else np.ones(500, dtype)
    with pytest.raises(AudioError, match=r"expected floats.*divide integers.*32768"):
        made["log1p"].enhance(waveform, 16_000)


def test_what_others_take_is_refused_with_what_to_do(made):
    with pytest.raises(AudioError, match=r"noisy\.wav is the name of a file: `enhance_file` takes those"):
        made["log1p"].enhance("noisy.wav", 16_000)
    for arguments in ((np.zeros((1, 800), np.float32),), (torch.zeros(1, 800), 16_000), (torch.zeros(800),)):
        with pytest.raises(AudioError, match=r"expected tensors .* at 16 kHz .*: `enhance` takes any other"):
            made["log1p"](*arguments)
    with pytest.raises(TypeError, match="sample_rate"):  # it was 16 kHz in silence
        made["log1p"].enhance(np.zeros(800))
    for change in (torch.nn.Module.half, torch.nn.Module.bfloat16, lambda model: model.to("cpu", torch.float16)):
        with pytest.raises(ModelError, match="computes in float32, not torch"):
            change(made["log1p"])
    assert next(made["log1p"].to("cpu", torch.float32).parameters()).dtype == torch.float32


def test_an_enhancer_says_what_it_is(made):
    enhancer = made["own"]
    assert enhancer.sample_rate == 16_000
    assert enhancer.config["aggregation"] == enhancer.aggregation.settings()
    json.dumps(enhancer.config)
    assert repr(enhancer).startswith(f"Enhancer({enhancer.name}: {enhancer.representation.name}, dynamic_")
    assert len(repr(enhancer)) < 200
    assert "\n" not in repr(enhancer)
    assert repr(made["log1p"]).endswith(" M, cpu)")


def test_other_shapes_are_refused(made):
    for shape in ((), (1, 2, 300)):
        with pytest.raises(AudioError, match=r"expected \[sample\] or \[channel, sample\]"):
            made["log1p"].enhance(np.zeros(shape), 16_000)
    with pytest.raises(AudioError, match=r"\[8000, 2\]: transpose it"):
        made["log1p"].enhance(np.zeros((8000, 2)), 16_000)
    with pytest.raises(AudioError, match="0 Hz"):
        made["log1p"].enhance(np.zeros(100), 0)


def test_parts_that_do_not_fit_are_refused():
    encoder = mel_transformer()
    with pytest.raises(ModelError, match="or neither"):
        Enhancer(encoder, None, MaskEnhancer(16))
    with pytest.raises(ModelError, match="size 17, the encoder gives 16"):
        Enhancer(encoder, WeightedSum(2), MaskEnhancer(17))
    with pytest.raises(ModelError, match="made for 3 layers, the encoder has 2"):
        Enhancer(encoder, WeightedSum(3), MaskEnhancer(16))
    with pytest.raises(ModelError, match="every 160 samples, the encoder gives one every 320"):
        Enhancer(encoder, WeightedSum(2), MaskEnhancer(16, hop=160))
    assert Enhancer(Log1p(), SingleLayer(1, 0), MaskEnhancer(257, hop=160)).enhance(noise(900), 16_000).shape == (900,)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_also_elsewhere(made, kind, tmp_path):
    made[kind].save_pretrained(tmp_path / "here", facts={"steps": 3})
    expected = made[kind].enhance(noise(2, 4000), 16_000)
    loaded = Enhancer.from_pretrained(tmp_path / "here")
    assert torch.equal(loaded.enhance(noise(2, 4000), 16_000), expected)
    assert (loaded.name, loaded.training) == (made[kind].name, False)
    loaded.save_pretrained(tmp_path / "here")  # over what it was read from
    (tmp_path / "here").rename(tmp_path / "there")
    assert torch.equal(Enhancer.from_pretrained(str(tmp_path / "there")).enhance(noise(2, 4000), 16_000), expected)
    names = sorted(str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*.*"))
    encoder = [] if kind == "log1p" else ["encoder/config.json", "encoder/model.safetensors"]
    assert names == ["README.md", "config.json", *encoder, "model.safetensors"]


def test_encoder_in_a_local_folder_is_part_of_the_model(tmp_path):
    joined(load_representation(hubert_folder(tmp_path / "hubert"))).save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "hubert")
    assert Enhancer.from_pretrained(tmp_path / "model").representation.layers == 2


def test_encoder_of_the_hub_stays_there(tmp_path, monkeypatch):
    encoder = load_representation(hubert_folder(tmp_path / "hubert"))
    encoder.name, encoder.model.config._commit_hash = "someone/hubert", "c0ffee"  # as from the hub
    joined(encoder).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "encoder").exists()
    asked = []
    monkeypatch.setattr(stored, "load_representation", lambda *arguments: asked.append(arguments) or encoder)
    Enhancer.from_pretrained(tmp_path / "model", token="secret")
    assert asked == [("someone/hubert", "secret", "c0ffee")]


def test_an_encoder_that_cannot_be_had_is_one_line(tmp_path, monkeypatch, capfd):
    encoder = load_representation(hubert_folder(tmp_path / "hubert"))
    encoder.name = "someone/hubert"
    joined(encoder).save_pretrained(tmp_path / "model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    capfd.readouterr()
    with pytest.raises(ModelError) as raised:
        Enhancer.from_pretrained(tmp_path / "model")
    text = str(raised.value)
    assert "'someone/hubert' is neither a local folder nor a model that the Hugging Face hub gives now" in text
    assert text.endswith("then name that folder, by --encoder (encoder= in Python)")
    assert "\n" not in text
    assert capfd.readouterr().err == ""


def test_a_folder_stands_in_for_an_encoder_of_the_hub_if_it_is_that_one(tmp_path):
    encoder = load_representation(hubert_folder(tmp_path / "hubert"))
    encoder.name, encoder.model.config._commit_hash = "someone/hubert", "c0ffee"
    made = joined(encoder)
    made.save_pretrained(tmp_path / "model")
    loaded = Enhancer.from_pretrained(tmp_path / "model", encoder=tmp_path / "hubert")
    assert torch.equal(loaded.enhance(noise(2000), 16_000), made.enhance(noise(2000), 16_000))
    loaded.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again" / "encoder").exists(), "it is known by its name again"
    assert json.loads((tmp_path / "again" / "config.json").read_text())["representation_revision"] == "c0ffee"
    # Weights that came another way, as half precision, are the same weights.
    encoder.model.half().save_pretrained(tmp_path / "half")
    assert (
        Enhancer.from_pretrained(tmp_path / "model", encoder=tmp_path / "half").representation.name == "someone/hubert"
    )
    encoder.model.float()
    with torch.no_grad():
        encoder.model.encoder.layers[0].final_layer_norm.bias[::2] += 0.3
    encoder.model.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=r"the weights in .*other are not those of someone/hubert that it was trained"):
        Enhancer.from_pretrained(tmp_path / "model", encoder=tmp_path / "other")
    with pytest.raises(ModelError, match="it needs no encoder from elsewhere"):
        Enhancer.from_pretrained("default", encoder=tmp_path / "other")


def test_the_embedding_of_masked_frames_is_no_part_of_what_an_encoder_is(tmp_path):
    """Not every checkpoint brings one, and transformers then draws it."""
    encoder = load_representation(hubert_folder(tmp_path / "hubert"))
    encoder.name = "someone/hubert"
    joined(encoder).save_pretrained(tmp_path / "model")
    weights = load_file(tmp_path / "hubert" / "model.safetensors")
    del weights[encoder.mask_parameter.removeprefix("model.")]
    save_file(weights, tmp_path / "hubert" / "model.safetensors", {"format": "pt"})
    assert Enhancer.from_pretrained(tmp_path / "model", encoder=tmp_path / "hubert").representation.layers == 2


@pytest.mark.parametrize(("normalise", "layer_norm_states"), [(False, True), (True, False)])
def test_options_of_the_encoder_are_kept(tmp_path, normalise, layer_norm_states):
    name = hubert_folder(tmp_path / "hubert")
    encoder = HuggingFaceRepresentation(load_representation(name).model, name, normalise, layer_norm_states)
    enhancer = joined(encoder)
    enhancer.save_pretrained(tmp_path / "model")
    loaded = Enhancer.from_pretrained(tmp_path / "model")
    assert loaded.representation.settings()["normalise"] is normalise
    assert loaded.representation.settings()["layer_norm_states"] is layer_norm_states
    assert torch.equal(loaded.enhance(noise(2000), 16_000), enhancer.enhance(noise(2000), 16_000))


@pytest.mark.parametrize("broken", ["store_encoder", "save_weights", "write_text", "write_json"])
def test_interrupted_save_over_another_model_is_noticed(tmp_path, monkeypatch, broken):
    joined(mel_transformer()).save_pretrained(tmp_path)
    intact = getattr(module, broken)

    def interrupted(*arguments):
        if broken != "write_json":
            intact(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, broken, interrupted)
    with pytest.raises(KeyboardInterrupt):
        joined(mel_transformer(), seed=1).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"model\.safetensors is not the one that config\.json was written with"):
        Enhancer.from_pretrained(tmp_path)


def edit(folder, **changes):
    """Change config.json, and take the hashes out so that what is tested comes to light."""
    content = json.loads((folder / "config.json").read_text()) | {"files": {}} | changes
    (folder / "config.json").write_text(json.dumps({key: v for key, v in content.items() if v != "absent"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": 8000}, "trained at 8000 Hz"),
        ({"model_type": "hubert"}, "'hubert' model, not a 'phonemi-enhancer'"),
        (
            {"mask_enhancer": {"dim": 16, "log1p": True, "hidden": 5, "layers": 1}},
            r"bias_hh_l0 is \[16\], expected \[20\]",
        ),
        ({"mask_enhancer": {"dim": 16, "log1p": True, "hidden": 4, "layers": 2}}, "_l1 is missing"),
        ({"mask_enhancer": {"dimension": 16}}, "does not describe one.*dimension"),
        ({"mask_enhancer": "absent"}, "does not describe one.*mask_enhancer"),
        ({"aggregation": {"kind": "weighted_sum", "layers": 3}}, "made for 3 layers, the encoder has 2"),
        ({"aggregation": {"kind": "weighted_sum", "layers": 2}}, "aggregation.*(missing in|unknown to)"),
        ({"aggregation": {"kind": "sum"}}, "unknown kind of aggregation 'sum'"),
        ({"representation": "/nowhere/hubert"}, "/nowhere/hubert does not exist"),
    ],
)
def test_settings_that_do_not_fit(made, changes, message, tmp_path):
    made["own"].save_pretrained(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        Enhancer.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_encoder_with_other_layers(made, tmp_path):
    made["own"].save_pretrained(tmp_path)
    mel_transformer(blocks=3).save(tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"encoder/config\.json is not the one"):
        Enhancer.from_pretrained(tmp_path)
    edit(tmp_path)
    with pytest.raises(ModelError, match="made for 2 layers, the encoder has 4"):
        Enhancer.from_pretrained(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "encoder/config.json", "encoder/model.safetensors"])
def test_missing_and_damaged_files(made, file, tmp_path):
    made["own"].save_pretrained(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[:-100])
    with pytest.raises(ModelError, match=f"{file} is not the one"):
        Enhancer.from_pretrained(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ModelError, match=f"{file} is missing"):
        Enhancer.from_pretrained(tmp_path)


def test_names_that_are_no_model(tmp_path, monkeypatch):
    for name in (tmp_path, tmp_path / "absent", "absent", "./absent", "~/absent", "a/b/c"):
        with pytest.raises(ModelError, match=r"no enhancer.*expected one that ships.*a folder"):
            Enhancer.from_pretrained(name)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        Enhancer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="does not describe one"):
        Enhancer.from_pretrained(tmp_path)

    def offline(name, **options):
        raise OSError("no network\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(ModelError, match=r"'someone/enhancer'.*no network at all"):
        Enhancer.from_pretrained("someone/enhancer")


def test_hub(made, tmp_path, monkeypatch):
    made["own"].save_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: tmp_path)
    assert Enhancer.from_pretrained("someone/enhancer").representation.layers == 2

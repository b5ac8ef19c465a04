"""phonemi.tools.export: onnxruntime gives what PyTorch gives, from one file for any batch and length."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import noise
from torch import nn

from phonemi import DynamicWeightedSum, Enhancer, MaskEnhancer, SingleLayer, WeightedSum, __version__, audio
from phonemi.errors import MissingExtra, ModelError
from phonemi.representations.base import Representation
from phonemi.representations.huggingface import HuggingFaceRepresentation
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.signal import istft, log_mel, magnitude, scale, stft
from phonemi.tools.export import export_onnx

pytestmark = pytest.mark.slow  # compiling takes seconds for each network

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TOLERANCE = 1e-4
SIZES = [(1, 8_000), (3, 19_744), (1, 112_000), (2, 400)]  # 0.5, 1.234 and 7 s
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"


def mel_transformer():
    config = MelTransformerConfig(mels=8, dim=16, blocks=2, heads=2, feedforward=8, position_kernel=3)
    encoder = MelTransformer(config)
    encoder.set_statistics(torch.randn(8), torch.rand(8) + 0.5)
    return encoder


def hugging_face(kind, **options):
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    sizes |= {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, **options)
    model = getattr(transformers, f"{kind}Model")(config)
    for name, parameter in model.named_parameters():
        if "rel_attn" in name or "gru_rel" in name:  # all alike as they are made, so that they would not be tested
            nn.init.normal_(parameter)
    return HuggingFaceRepresentation(model, kind)


def mask_enhancer(dim, log1p=True, **options):
    return MaskEnhancer(dim, log1p, hidden=8, layers=2, **options)


MADE = {
    "log1p": lambda: Enhancer(None, None, mask_enhancer(0)),
    "level, limit, mirrored": lambda: Enhancer(
        None, None, mask_enhancer(0, level_db=-6.0, attenuation_limit_db=6.0, stft_pad="reflect")
    ),
    "log1p encoder": lambda: Enhancer(Log1p(), SingleLayer(1, 0), mask_enhancer(257, hop=160)),
    "mel, ws": lambda: Enhancer(mel_transformer(), WeightedSum(3), mask_enhancer(16, level_db=-6.0)),
    "mel, dws": lambda: Enhancer(mel_transformer(), DynamicWeightedSum(3, 16), mask_enhancer(16, False)),
    "mel, dws, normalised": lambda: Enhancer(
        mel_transformer(), DynamicWeightedSum(3, 16, normalise_layers=True, projection_bias=True), mask_enhancer(16)
    ),
    "hubert": lambda: Enhancer(hugging_face("Hubert"), WeightedSum(3), mask_enhancer(16)),
    "wav2vec2 large": lambda: Enhancer(hugging_face("Wav2Vec2", **LARGE), WeightedSum(3), mask_enhancer(16)),
    "wavlm": lambda: Enhancer(hugging_face("WavLM"), DynamicWeightedSum(3, 16), mask_enhancer(16)),
}


def made(kind):
    torch.manual_seed(0)
    enhancer = MADE[kind]()
    enhancer.mask_enhancer.output.weight.data *= 20  # masks that differ from bin to bin
    return enhancer


def run(path, **inputs):
    """Outputs of an ONNX file; an input that is None is none of its own."""
    session = onnxruntime.InferenceSession(path)
    given = {name: value.numpy() for name, value in inputs.items() if value is not None}
    return [torch.from_numpy(output) for output in session.run(None, given)]


def assert_alike(found, expected):
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.fixture(scope="module", params=MADE)
def exported(request, tmp_path_factory):
    """An enhancer, and its files by their stems."""
    enhancer = made(request.param)
    paths = export_onnx(enhancer, tmp_path_factory.mktemp("exported"))
    return enhancer, {path.stem: path for path in paths}


@torch.no_grad()
def test_every_size_from_one_file(exported):
    enhancer, paths = exported
    for size in [*SIZES, (2, 250), (1, 1)]:
        noisy = noise(*size)
        expected = enhancer(noisy)
        assert (expected - noisy).abs().max() > 10 * TOLERANCE
        assert_alike(run(paths["enhancer"], noisy=noisy)[0], expected)
    assert not run(paths["enhancer"], noisy=torch.zeros(1, 5_000))[0].any()


@torch.no_grad()
def test_parts(exported):
    enhancer, paths = exported
    assert ("encoder" in paths) == (enhancer.representation is not None)
    for size in SIZES[:2]:
        noisy = noise(*size)
        features = enhancer.fuse(noisy)
        if features is not None:
            found = run(paths["encoder"], noisy=noisy)
            assert_alike(found[0], enhancer.representation(noisy).states)
            assert_alike(found[1], features)
        log1p = stft(noisy).abs().log1p()
        (mask,) = run(paths["mask"], log1p=log1p, features=features)
        assert_alike(mask, enhancer.mask_enhancer(log1p, features))


@torch.no_grad()
def test_the_network_for_recognition(tmp_path):
    torch.manual_seed(0)
    heard, recognised = (MaskEnhancer(0, True, hidden=4, layers=1) for _ in range(2))
    enhancer, noisy = Enhancer(None, None, heard, recognition_network=recognised), noise(2, 8_000)
    paths = export_onnx(enhancer, tmp_path, purpose="recognition")
    assert [path.name for path in paths] == ["enhancer.onnx", "mask.onnx"]
    expected = enhancer.with_gains(noisy, purpose="recognition")[0]
    assert_alike(run(paths[0], noisy=noisy)[0], expected)
    assert (expected - enhancer(noisy)).abs().max() > 10 * TOLERANCE
    with pytest.raises(ModelError, match="enhancer has no network for recognition"):
        export_onnx(Enhancer(None, None, heard), tmp_path, purpose="recognition")


@torch.no_grad()
def test_what_ships(tmp_path):
    enhancer = Enhancer.from_pretrained("default")
    paths = export_onnx(enhancer, tmp_path / "new" / "folder")
    assert [path.relative_to(tmp_path / "new" / "folder").name for path in paths] == ["enhancer.onnx", "encoder.onnx"]
    for size in ((1, 8_000), (3, 19_744)):
        assert_alike(run(paths[0], noisy=noise(*size))[0], enhancer(noise(*size)))
    known = {entry.key: entry.value for entry in onnx.load(paths[0]).metadata_props}
    expected = {"name": "default", "part": "enhancer", "sample_rate": "16000", "licence": "apache-2.0"}
    assert known == expected | {"phonemi_version": __version__}


@torch.no_grad()
def test_operators_are_common_ones(tmp_path):
    enhancer = made("mel, ws")
    path = export_onnx(enhancer, tmp_path, opset=20)[0]
    assert_alike(run(path, noisy=noise(1, 8_000))[0], enhancer(noise(1, 8_000)))
    model = onnx.load(path)
    used = [node.op_type for node in model.graph.node]
    assert used.count("LSTM") == 2  # one a layer: not unrolled
    assert not {"DFT", "STFT", "Loop", "Scan", "If"} & set(used)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert {tensor.data_type for tensor in model.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()  # nor where it was made


def test_the_enhancer_stays_as_it_is(tmp_path):
    enhancer = made("mel, dws, normalised").double()
    before, settings = copy.deepcopy(enhancer.state_dict()), enhancer.aggregation.settings()
    export_onnx(enhancer, tmp_path)
    assert enhancer.aggregation.settings() == settings
    assert all(torch.equal(value, before[name]) for name, value in enhancer.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in enhancer.state_dict().items())


@pytest.mark.filterwarnings("ignore")  # torch's tracer warns of its age and of every constant
@pytest.mark.parametrize("pad", ["zeros", "reflect"])
def test_a_traced_fourier_transform_is_the_complex_one(pad):
    waveform, gains = noise(2, 9_123), torch.rand(2, 58, 257)

    def transforms(waveform):
        spectrum = stft(waveform, pad)
        restored = istft(scale(spectrum, gains), 9_000)
        return magnitude(spectrum), restored, log_mel(waveform, 20)

    traced = torch.jit.trace(transforms, (waveform,), check_trace=False)
    for found, expected in zip(traced(waveform), transforms(waveform), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


class Unknown(Representation):
    """No kind that the export knows."""

    layers, dim, hop, frames, forward, settings = 1, 257, 160, None, None, None


class Inverse(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, frames):
        return frames + torch.linalg.pinv(frames).transpose(1, 2)


def test_what_cannot_be_exported(tmp_path, monkeypatch, capfd):
    hubert = made("hubert")
    hubert.representation.model.encoder.layer_norm = Inverse()
    with pytest.raises(ModelError, match=r"exporting enhancer\.onnx with torch .*pinv") as caught:
        export_onnx(hubert, tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="an encoder of type Unknown cannot be exported"):
        export_onnx(Enhancer(Unknown(), SingleLayer(1, 0), mask_enhancer(257, hop=160)), tmp_path)
    with pytest.raises(ModelError, match="version 16 cannot be written: 17 to 20 can"):
        export_onnx(made("log1p"), tmp_path, opset=16)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"onnx is not installed.*phonemi\[export\]"):
        export_onnx(made("log1p"), tmp_path)
    assert not any(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S))
def test_the_document_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audio.save("noisy.wav", noise(9_000).numpy(), 16_000)
    names: dict = {}
    exec(compile(block, DOCUMENT.name, "exec"), names)
    assert names["enhanced"].shape == (9_000,)
    assert names["enhanced"].dtype == np.float32

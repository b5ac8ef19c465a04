"""What the protocol says of encoders and enhancers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_whisper import make_whisper

from phonemi.config import load_config
from phonemi.representations.log1p import Log1p
from phonemi.representations.names import load_representation
from phonemi.results.evaluation import EvaluationData
from phonemi.stages.protocol import _enhancers, _test, published_training
from phonemi.stages.run import Run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("WavLMModel", "self-supervised"),
        ("Wav2Vec2ForPreTraining", "self-supervised"),
        ("HubertForCTC", "trained with transcripts"),
        ("Wav2Vec2ForSequenceClassification", "trained in a way that its files do not tell"),
    ],
)
def test_the_head_of_a_published_encoder_tells_how_it_was_trained(tmp_path: Path, architecture: str, said: str) -> None:
    from transformers import HubertConfig, HubertModel

    sizes = {"hidden_size": 4, "num_attention_heads": 1, "intermediate_size": 4, "num_hidden_layers": 1}
    HubertModel(HubertConfig(**sizes, conv_dim=[4] * 7, num_conv_pos_embedding_groups=1)).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("HubertModel", architecture))
    assert published_training(load_representation(tmp_path)).startswith(said)


@pytest.mark.slow
def test_whisper_was_trained_with_transcripts(tmp_path: Path) -> None:
    assert published_training(load_representation(make_whisper(tmp_path, 32))).startswith("trained with transcripts")
    assert published_training(Log1p()).startswith("trained in a way that its files do not tell")


def test_every_kind_of_network_is_named_once(corpus: Any, tmp_path: Path) -> None:
    rows = "enhance.rows=[log1p, ws-acoustic+log1p, ws-acoustic+log1p+complex]"
    config = load_config(None, [*corpus.settings, rows, "enhance.layers=2", "enhance.hidden=9"])
    text = _enhancers(Run(tmp_path, config, save=False))
    assert text.startswith("BLSTM of 2 layers of 9 and complex mask of 3 dual-path blocks of 48 channels; ")
    assert "float32; best" in text


def test_what_is_judged_on_validation_is_called_no_test() -> None:
    data = EvaluationData(utterances=6, speakers=3, snrs_db=(5.0,))
    test, validation = (_test(load_config(None, [f"evaluate.split={split}"]), data) for split in ("test", "validation"))
    assert test == "6 mixtures of 3 speakers at 5 dB"
    assert validation == f"{test}; of validation, on which something may have been chosen: this is no test"


def test_everything_that_is_in_the_loss_is_named(corpus: Any, tmp_path: Path) -> None:
    losses = ("si_sdr_weight=6", "artefact_weight=2", "phone_weight=0.1", "kept_noise_db=14")
    settings = [*corpus.settings, *(f"enhance.{loss}" for loss in losses)]
    text = _enhancers(Run(tmp_path, load_config(None, settings), save=False))
    assert "the noise 14 dB down" in text
    assert (
        "loss of the network, less 6 times SI-SDR in dB (artefacts weighed 2 times), "
        "plus 0.1 times the nats of phones lost to phone-judge" in text
    )


def test_what_a_training_goes_on_from_is_named(corpus: Any, tmp_path: Path) -> None:
    settings = [*corpus.settings, "enhance.start=there/mine", "enhance.purpose=recognition"]
    text = _enhancers(Run(tmp_path, load_config(None, settings), save=False))
    assert "1 model of each row, going on from mine, for recognition" in text

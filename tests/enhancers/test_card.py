"""phonemi.enhancers.card: what is known is in the card, what is not leaves no trace."""

from __future__ import annotations

import re

import pytest
import yaml

from phonemi.enhancers.card import model_card

FACTS = {
    "name": "default",
    "summary": "Makes noisy speech clean.",
    "licence": "apache-2.0",
    "language": ["en"],
    "tags": ["phonetics"],
    "load": "default",
    "parts": [
        {"part": "encoder", "what": "mini", "parameters": 4_794_624},
        {"part": "aggregation", "what": "weighted sum", "parameters": 7},
    ],
    "size_mb": 6.5777,
    "sample_rate": 16_000,
    "data": [
        {"name": "LibriSpeech", "use": "speech", "licence": "CC BY 4.0", "hub": "openslr/librispeech_asr"},
        {"name": "ESC-10", "use": "noise", "licence": "CC BY"},
    ],
    "speed": {"real-time factor on one core": 0.02123},
    "measured_on": "60 validation mixtures.",
    "metrics": {
        "rows": [
            {"row": "noisy", "stoi": 0.8, "stoi_low": 0.78, "stoi_high": 0.82},
            {"row": "ws", "label": "WS", "stoi": 0.85, "stoi_low": 0.84, "stoi_high": 0.86},
        ],
        "comparisons": [
            {
                **{"row": "ws", "against": "noisy", "metric": "stoi", "difference": 0.05},
                **{"low": 0.03, "high": 0.07, "p_value": 0.001, "p_adjusted": 0.001},
            }
        ],
    },
    "weak": ["Music is taken for noise."],
    "steps": 3000,
    "best_validation": {"stoi": 0.8512345},
}


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_everything_that_is_known_is_said():
    card = model_card(FACTS)
    assert front_matter(card) == {
        "library_name": "phonemi",
        "pipeline_tag": "audio-to-audio",
        "license": "apache-2.0",
        "language": ["en"],
        "datasets": ["openslr/librispeech_asr"],
        "metrics": ["stoi"],
        "tags": ["speech-enhancement", "noise-suppression", "phonetics"],
    }
    assert re.findall(r"^#+ (.*)$", card, re.M) == [
        *("default", "How to use it", "What it is made of", "Data", "Speed", "Quality", "What it is bad at"),
        "Training",
    ]
    for line in (
        "Makes noisy speech clean.",
        "| encoder | mini | 4.79 M |",
        "| aggregation | weighted sum | 7 |",
        "The files take 6.58 MB. It works at 16 kHz; other rates are resampled there and back.",
        "| ESC-10 | noise | CC BY |",
        "- real-time factor on one core: 0.02123",
        "60 validation mixtures.",
        "| WS | 0.850 [0.840, 0.860] |",
        "| WS | noisy | **+0.050 [+0.030, +0.070] p 0.001** |",
        "- Music is taken for noise.",
        "- steps: 3000\n- best validation: stoi 0.8512",
    ):
        assert line in card
    assert 'Enhancer.from_pretrained("default")' in card
    assert "--model default" in card


@pytest.mark.parametrize("left_out", sorted(FACTS))
def test_what_is_not_known_is_not_said(left_out):
    whole, card = model_card(FACTS), model_card({**FACTS, left_out: None})
    assert card == model_card({key: value for key, value in FACTS.items() if key != left_out})
    assert len(card) < len(whole) or left_out in ("name", "load")
    assert "None" not in card
    assert "\n\n\n" not in card


def test_nothing_known():
    card = model_card({})
    assert front_matter(card)["tags"] == ["speech-enhancement", "noise-suppression"]
    assert re.findall(r"^#+ (.*)$", card, re.M) == ["enhancer", "How to use it"]


def test_python_of_a_card_of_an_encoder_runs(tmp_path):
    from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig

    MelTransformer(MelTransformerConfig(mels=80, dim=8, blocks=1, heads=2, feedforward=8, position_kernel=31)).save(
        tmp_path
    )
    card = model_card({"kind": "encoder", "name": "mini", "load": str(tmp_path)})
    assert front_matter(card)["pipeline_tag"] == "feature-extraction"
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", card, re.S)[1], names)
    assert names["states"].shape[:2] == (2, 1)

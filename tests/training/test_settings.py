import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

from phonemi.errors import ConfigError
from phonemi.training.settings import FitSettings, fit_settings


def settings(**changes):
    return FitSettings(**{"steps": 10, "validate_every": 5, "checkpoint_every": 5, **changes})


def test_cosine_falls_from_the_peak_to_zero_after_the_warmup():
    chosen = settings(steps=12, warmup_steps=2, schedule="cosine", learning_rate=2.0)
    rates = [chosen.learning_rate_at(step) for step in range(13)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[7] == pytest.approx(1.0)
    assert rates[12] == pytest.approx(0.0)
    assert all(before >= after for before, after in pairwise(rates[2:]))


def test_constant_is_the_default_and_never_changes():
    assert {settings().learning_rate_at(step) for step in range(10)} == {1e-3}


def test_a_rate_of_some_parameters_must_be_one():
    with pytest.raises(ConfigError, match=r"learning_rate of encoder\. is -1"):
        settings(learning_rate_of={"encoder.": -1})


def test_warmup_over_the_whole_run_is_allowed():
    assert settings(warmup_steps=10).learning_rate_at(9) == 1e-3


def test_betas_from_a_yaml_list_equal_the_default():
    assert settings(betas=[0.9, 0.999]) == settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "steps is 0"),
        ("log_every", 0, "log_every is 0"),
        ("schedule", "cosin", "did you mean 'cosine'"),
        ("precision", "fp32", "known: bf16, fp16, no|did you mean"),
        ("learning_rate", -1.0, "learning_rate is -1.0"),
        ("learning_rate", math.nan, "learning_rate is nan"),
        ("warmup_steps", 11, "warmup_steps is 11"),
        ("gradient_clip", 0.0, "gradient_clip is 0.0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value, message):
    with pytest.raises(ConfigError, match=message):
        settings(**{name: value})


def test_a_section_gives_what_it_has_and_the_rest_is_given():
    section = SimpleNamespace(
        steps=10, learning_rate=0.5, eps_before_correction=False, precision="bf16", validate_every=5, batch=8
    )
    expected = settings(learning_rate=0.5, precision="bf16", seed=3)
    assert fit_settings(section, checkpoint_every=5, seed=3) == expected
    assert fit_settings(section, checkpoint_every=5, seed=3, learning_rate=1.0).learning_rate == 1.0
    with pytest.raises(ConfigError, match="steps is 0"):
        fit_settings(SimpleNamespace(steps=0), validate_every=1, checkpoint_every=1)

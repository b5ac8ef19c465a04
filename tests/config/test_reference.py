"""phonemi.config.reference: every setting is described, once, with a default that `--set` takes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from phonemi.config import Config, Round, load_config
from phonemi.config.reference import as_markdown, as_text, reference
from phonemi.config.sections import Section
from phonemi.errors import ConfigError

SETTINGS = {setting.name: setting for section in reference() for setting in section.settings}


def declared(section: type[Section], path: str = "") -> Iterator[str]:
    """Names of the settings of a section and of those inside it."""
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Section):
            yield from declared(type(default), f"{path}{name}.")
        else:
            yield f"{path}{name}"
            if name == "rounds":
                yield from declared(Round, f"{path}{name}[].")


def test_every_setting_is_there_once() -> None:
    listed = [setting.name for section in reference() for setting in section.settings]
    assert sorted(listed) == sorted(declared(Config))


@pytest.mark.parametrize("name", [name for name in SETTINGS if "[]" not in name])
def test_the_default_is_what_set_takes(name: str) -> None:
    assert load_config(None, [f"{name}={SETTINGS[name].default}"]) == Config()


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("seed", "integer, at least 0"),
        ("device", "one of auto, cpu, cuda"),
        ("data.speech", "list of text"),
        ("enhance.crop_s", "number, above 0, or null"),
        ("enhance.augment.rt60_s", "pair of number, at least 0.05, at most 3"),
        ("evaluate.systems", "mapping of name to text"),
        ("encoder.rounds[].units", "one of mel, encoder, phones, teacher, frames"),
    ],
)
def test_types_in_words(name: str, type_: str) -> None:
    assert SETTINGS[name].type == type_


@pytest.mark.parametrize("columns", [40, 80])
def test_the_text_fits_and_names_every_setting(columns: int) -> None:
    lines = as_text(reference(), columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert {match[1] for line in lines if (match := re.match(r"(\S+) =", line))} == set(SETTINGS)


def test_a_section_includes_those_inside_it() -> None:
    assert [section.name for section in reference("enhance")] == ["enhance", "enhance.augment"]
    assert [setting.name for section in reference("enhance.steps") for setting in section.settings] == ["enhance.steps"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no section or setting 'enhance.stepz'; did you mean 'enhance.steps'\?"):
        reference("enhance.stepz")


def test_every_setting_has_an_anchor_on_the_page() -> None:
    anchors = re.findall(r"\{ #([\w.]+) \}", as_markdown(reference()))
    assert {name.replace("[]", "") for name in SETTINGS} <= set(anchors)


@pytest.mark.slow
def test_the_command_prints_it(phonemi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = phonemi("config", "evaluate")
    assert outcome.code == 0
    assert outcome.stdout == as_text(reference("evaluate"), 80) + "\n"
    assert yaml.safe_load(outcome.stdout.partition("evaluate.snrs_db = ")[2].splitlines()[0]) == [2.5, 7.5, 12.5, 17.5]
    wrong = phonemi("config", "evaluation")
    assert (wrong.code, wrong.error) == (2, "no section or setting 'evaluation'; did you mean 'evaluate'?")

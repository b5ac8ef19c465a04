from __future__ import annotations

import pytest

from phonemi.errors import ConfigError
from phonemi.systems.system import KNOWN, Row, parse, parse_all


@pytest.mark.parametrize(
    ("name", "row", "label", "is_frozen"),
    [
        ("log1p", Row("log1p", "log1p", log1p=True), "log1p", True),
        ("layer", Row("layer", "layer"), "best single layer", True),
        ("layer-0", Row("layer-0", "layer", layer=0), "layer 0", True),
        ("layer-11+log1p", Row("layer-11+log1p", "layer", layer=11, log1p=True), "layer 11 + log1p", True),
        ("ws-acoustic", Row("ws-acoustic", "ws", "acoustic"), "WS (Acoustic)", False),
        ("ws-linguistic", Row("ws-linguistic", "ws", "linguistic"), "WS (Linguistic)", True),
        ("dws-hybrid", Row("dws-hybrid", "dws", "hybrid"), "DWS (Hybrid)", False),
        (
            "dws-linguistic+log1p",
            Row("dws-linguistic+log1p", "dws", "linguistic", log1p=True),
            "DWS (Linguistic) + log1p",
            True,
        ),
    ],
)
def test_names(name: str, row: Row, label: str, is_frozen: bool) -> None:
    assert parse(name) == row
    assert (row.label, row.is_frozen) == (label, is_frozen)


def test_every_known_name_is_its_own_row() -> None:
    assert len({parse(name).label for name in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ws-lingustic", "unknown row 'ws-lingustic'; did you mean 'ws-linguistic'?"),
        ("wslinguistic+log1p", "unknown row 'wslinguistic+log1p'; did you mean 'ws-linguistic'?"),
        ("ws", "unknown row 'ws'; known: dws-acoustic"),
        ("", "unknown row ''; known: "),
        ("layer-x", "unknown row 'layer-x'; did you mean 'layer'?"),
        ("layer--1", "unknown row 'layer--1'; did you mean 'layer'?"),
        ("ws-hybrid+mel", "only +log1p can be added"),
        ("ws-hybrid+", "only +log1p can be added"),
        ("log1p+log1p", "only +log1p can be added, to a row with an encoder"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(name)
    assert message in str(error.value)


def test_rows_of_a_configuration() -> None:
    assert parse_all([]) == []
    assert [row.name for row in parse_all(["log1p", "layer"])] == ["log1p", "layer"]
    with pytest.raises(ConfigError, match="row 'layer' is named more than once"):
        parse_all(["layer", "log1p", "layer"])


def test_further_models_of_a_row() -> None:
    rows = parse_all(["log1p", "ws-hybrid"], models=3)
    assert [row.name for row in rows] == ["log1p", "ws-hybrid", "log1p@2", "ws-hybrid@2", "log1p@3", "ws-hybrid@3"]
    assert [row.base for row in rows] == ["log1p", "ws-hybrid"] * 3
    assert rows[3] == parse("ws-hybrid@2")
    assert (rows[3].kind, rows[3].label, rows[3].model) == ("ws", "WS (Hybrid)", 2)
    assert len({row.seed(of_run) for row in rows[::2] for of_run in (0, 1)}) == 6
    assert rows[0].seed(5) == 5


@pytest.mark.parametrize("name", ["log1p@1", "log1p@", "log1p@x", "log1p@02", "log1p@2@3"])
def test_models_are_numbered_from_two(name: str) -> None:
    with pytest.raises(ConfigError, match="numbered from @2"):
        parse(name)


def test_a_configuration_names_rows_and_not_models() -> None:
    with pytest.raises(ConfigError, match=r"set enhance\.seeds to how many models"):
        parse_all(["log1p@2"])

from __future__ import annotations

import pytest

from phonemi.errors import ConfigError
from phonemi.systems import LAST_LAYER, PAPERS, find_system, find_systems, hung2022, known_system, tabatabaee2026
from phonemi.systems.han2026 import TABLES


@pytest.mark.parametrize(
    ("name", "label", "aggregation", "tuning", "layer", "spectrum"),
    [
        ("log1p", "log1p", None, None, None, True),
        ("layer", "best single layer", "single_layer", None, None, False),
        ("layer-0", "layer 0", "single_layer", None, 0, False),
        ("layer-11", "layer 11", "single_layer", None, 11, False),
        ("layer-11+log1p", "layer 11 + log1p", "single_layer", None, 11, True),
        ("ws-acoustic", "WS (Acoustic)", "weighted_sum", "acoustic", None, False),
        ("ws-linguistic", "WS (Linguistic)", "weighted_sum", "linguistic", None, False),
        ("dws-hybrid", "DWS (Hybrid)", "dynamic_weighted_sum", "hybrid", None, False),
        ("dws-linguistic+log1p", "DWS (Linguistic) + log1p", "dynamic_weighted_sum", "linguistic", None, True),
    ],
)
def test_what_a_name_stands_for(
    name: str, label: str, aggregation: str | None, tuning: str | None, layer: int | None, spectrum: bool
) -> None:
    system = find_system(name)
    assert (system.name, system.label, system.aggregation) == (name, label, aggregation)
    assert (system.tuning, system.layer, system.spectrum) == (tuning, layer, spectrum)
    assert not system.learns_encoder


@pytest.mark.parametrize(
    ("name", "learns_aggregation", "is_pretrained", "chooses_layer"),
    [
        ("log1p", False, False, False),
        ("layer", False, False, True),
        ("layer-3", False, False, False),
        ("ws-acoustic", True, False, False),
        ("ws-linguistic", False, True, False),
        ("dws-hybrid", True, True, False),
    ],
)
def test_what_is_trained_when(name: str, learns_aggregation: bool, is_pretrained: bool, chooses_layer: bool) -> None:
    system = find_system(name)
    assert system.learns_aggregation == learns_aggregation
    assert system.is_pretrained == is_pretrained
    assert system.chooses_layer == chooses_layer


def test_the_encoder_of_any_system_that_has_one_can_be_tuned() -> None:
    system = find_system("ws-acoustic+log1p+tuned-5@2")
    assert (system.tuned_from_block, system.spectrum, system.model) == (5, True, 2)
    assert system.base == "ws-acoustic+log1p+tuned-5"
    assert system.learns_encoder
    assert system.compared_with[0] == "ws-acoustic+log1p"
    assert system.printed == {}, "the paper has no such row"
    assert find_system("layer-2+tuned-3").compared_with[0] == "layer-2"
    with pytest.raises(ConfigError, match="to a row with an encoder"):
        find_system("log1p+tuned-3")


def test_a_row_with_the_spectrum_can_have_a_complex_mask() -> None:
    system = find_system("ws-linguistic+log1p+complex@3")
    assert (system.network, system.label, system.model) == ("complex", "WS (Linguistic) + log1p, complex mask", 3)
    assert system.compared_with[0] == "ws-linguistic+log1p"
    assert system.printed == {}
    assert find_system("log1p+complex").network == "complex"
    tuned = find_system("ws-acoustic+log1p+complex+tuned-5")
    assert (tuned.tuned_from_block, tuned.compared_with[0]) == (5, "ws-acoustic+log1p+complex")
    with pytest.raises(ConfigError, match=r"\+complex after log1p"):
        find_system("ws-linguistic+complex")


@pytest.mark.parametrize(
    ("name", "block", "keeps_front_end", "label"),
    [
        ("bsse-ws+log1p", None, False, "BSSE normalised WS + log1p"),
        ("bsse-ws+log1p+tuned-partial", 0, True, "BSSE normalised WS + log1p, encoder tuned (partial)"),
        ("bsse-last+tuned-entire", 0, False, "BSSE last layer, encoder tuned (entire)"),
        ("ws-acoustic+tuned-entire", 0, False, "WS (Acoustic), encoder tuned (entire)"),
    ],
)
def test_bsse_tunes_all_of_the_encoder_or_all_but_its_front_end(
    name: str, block: int | None, keeps_front_end: bool, label: str
) -> None:
    system = find_system(name)
    assert (system.tuned_from_block, system.keeps_front_end, system.label) == (block, keeps_front_end, label)
    if name.startswith("bsse"):
        assert (system.network, system.compared_with[-1]) == ("bsse", "bsse-raw")


def test_every_row_of_the_table_of_bsse_is_a_system() -> None:
    systems = [find_system(row) for row in ("bsse-raw", *hung2022.ROWS)]
    assert len(systems) == 10
    assert len({system.label for system in systems}) == 10
    assert [system.uses_encoder for system in systems].count(False) == 1
    assert find_system("bsse-last").layer == LAST_LAYER
    with pytest.raises(ConfigError, match="unknown row"):
        find_system("bsse-raw+complex")
    with pytest.raises(ConfigError, match="unknown row"):
        find_system("bsse-raw+tuned-partial")


def test_every_system_is_its_own_row() -> None:
    systems = [system for paper in PAPERS for system in paper.values()]
    assert len({system.label for system in systems}) == len(systems)
    with_look = [system for system in systems if system.look]
    assert len({system.look for system in with_look}) == len(with_look) - 2, "layers 9 and 11 look like the chosen one"
    assert all(find_system(system.name) == system for system in systems)


def test_every_printed_row_is_a_system_with_its_numbers() -> None:
    for table in TABLES.values():
        for (encoder, name), printed in table.items():
            assert find_system(name).printed[encoder] == printed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ws-lingustic", "unknown row 'ws-lingustic'; did you mean 'ws-linguistic'?"),
        ("wslinguistic+log1p", "unknown row 'wslinguistic+log1p'; did you mean 'ws-linguistic'?"),
        ("ws", "unknown row 'ws'; known: bsse-last, bsse-raw, bsse-ws, cascade, dws-acoustic"),
        ("", "unknown row ''; known: "),
        ("layer-x", "unknown row 'layer-x'; did you mean 'layer'?"),
        ("layer--1", "unknown row 'layer--1'; did you mean 'layer'?"),
        ("ws-acoustic-2", "unknown row 'ws-acoustic-2'; did you mean 'ws-acoustic'?"),
        ("ws-hybrid+mel", "+log1p and +tuned-K can be added to a row"),
        ("ws-hybrid+", "+log1p and +tuned-K can be added to a row"),
        ("log1p+log1p", "+log1p and +tuned-K can be added to a row with an encoder"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    assert known_system(name) is None
    with pytest.raises(ConfigError) as error:
        find_system(name)
    assert message in str(error.value)


def test_systems_of_a_configuration() -> None:
    assert find_systems([]) == []
    assert [system.name for system in find_systems(["log1p", "layer"])] == ["log1p", "layer"]
    with pytest.raises(ConfigError, match="row 'layer' is named more than once"):
        find_systems(["layer", "log1p", "layer"])


def test_further_models_of_a_system() -> None:
    systems = find_systems(["log1p", "ws-hybrid"], models=3)
    assert [s.name for s in systems] == ["log1p", "ws-hybrid", "log1p@2", "ws-hybrid@2", "log1p@3", "ws-hybrid@3"]
    assert [system.base for system in systems] == ["log1p", "ws-hybrid"] * 3
    assert systems[3] == find_system("ws-hybrid@2")
    assert (systems[3].label, systems[3].model) == ("WS (Hybrid)", 2)
    assert len({system.seed(run_seed) for system in systems[::2] for run_seed in (0, 1)}) == 6
    assert systems[0].seed(5) == 5


@pytest.mark.parametrize("name", ["log1p@1", "log1p@", "log1p@x", "log1p@02", "log1p@2@3"])
def test_models_are_numbered_from_two(name: str) -> None:
    with pytest.raises(ConfigError, match="numbered from @2"):
        find_system(name)


def test_a_configuration_names_systems_and_not_models() -> None:
    with pytest.raises(ConfigError, match=r"set enhance\.seeds to how many models"):
        find_systems(["log1p@2"])


def test_an_inverter_is_a_row_that_makes_no_signal() -> None:
    system = find_system("inversion")
    assert (system.aggregation, system.tuning, system.inverter, system.network) == (
        *("weighted_sum", "acoustic", "gru"),
        None,
    )
    assert system.inverts
    assert not system.hears_clean
    assert not system.learns_encoder
    assert find_system("inversion-linear").inverter == "linear"
    assert find_system("inversion-linguistic").is_pretrained
    last = find_system("inversion-last")
    assert (last.layer, last.learns_aggregation, last.chooses_layer) == (LAST_LAYER, False, False)
    assert not find_system("ws-acoustic+waveform").inverts


@pytest.mark.parametrize(
    ("name", "network", "hears_clean", "learns_encoder"),
    [
        ("inversion+tuned-entire", None, False, True),
        ("inversion-clean", None, True, False),
        ("inversion-clean+tuned-entire", None, True, True),
        ("joint", "waveform", False, False),
        ("joint+tuned-2@3", "waveform", False, True),
    ],
)
def test_what_inverters_hear_and_learn(name: str, network: str | None, hears_clean: bool, learns_encoder: bool) -> None:
    system = find_system(name)
    assert system.inverter == "gru"
    assert (system.network, system.hears_clean, system.learns_encoder) == (network, hears_clean, learns_encoder)


def test_what_inverts_is_compared_with_what_inverts_and_learns_as_much() -> None:
    compared = {row: find_system(row).compared_with[0] for row in tabatabaee2026.ROWS if find_system(row).inverts}
    assert compared["joint+tuned-entire"] == "inversion+tuned-entire"
    assert compared["inversion-clean+tuned-entire"] == "inversion+tuned-entire"
    assert compared["joint"] == "inversion"
    assert compared["cascade"] == "inversion-clean+tuned-entire"
    assert find_system("joint+tuned-entire").compared_with[1:] == ("joint", "inversion")
    assert find_system("inversion+tuned-entire").compared_with == ("inversion",)


def test_a_cascade_is_two_rows_of_the_same_number() -> None:
    system = find_system("cascade@2")
    assert (system.base, system.model, system.network, system.inverter) == ("cascade", 2, None, None)
    assert system.inverts
    assert system.cascade is not None
    enhancer, inverter = map(find_system, system.cascade)
    assert (enhancer.network, enhancer.inverts, enhancer.learns_encoder) == ("waveform", False, True)
    assert (inverter.network, inverter.inverter, inverter.hears_clean) == (None, "gru", True)
    assert find_systems(tabatabaee2026.ROWS, models=2)[-3].name == "cascade@2"


def test_the_rows_of_a_cascade_are_named_with_it_as_often() -> None:
    parts = list(find_system("cascade").cascade or ())
    for rows in (["cascade"], ["cascade", parts[0]], ["cascade", parts[1]]):
        with pytest.raises(ConfigError, match=r"row 'cascade' is made of ws-acoustic.*: name them in enhance.rows too"):
            find_systems(rows)
    assert len(find_systems(["cascade", *parts])) == 3
    with pytest.raises(ConfigError, match=r"row 'cascade@2' is made of .*@2 and .*@2: name them .* as many models"):
        find_systems(["cascade", *parts], models_of={"cascade": 2})
    assert len(find_systems([*parts, "cascade"], 1, {**dict.fromkeys(parts, 3), "cascade": 2})) == 8


def test_every_row_of_the_table_of_inversion_is_a_system_of_its_own() -> None:
    systems = find_systems(tabatabaee2026.ROWS)
    assert len({system.label for system in systems}) == len(systems)
    for system in tabatabaee2026.SYSTEMS.values():
        assert all(word in system.label for word in system.terms), "a term that the label does not have"


@pytest.mark.parametrize(
    "name",
    [
        *("inversion+log1p", "inversion+complex", "inversion+waveform", "joint+waveform", "joint+log1p"),
        *("cascade+tuned-entire", "cascade+waveform", "inversion-3", "inversion-last-3", "bsse-last-3"),
    ],
)
def test_what_cannot_be_added_to_a_row_that_inverts(name: str) -> None:
    assert known_system(name) is None
    with pytest.raises(ConfigError, match="unknown row"):
        find_system(name)

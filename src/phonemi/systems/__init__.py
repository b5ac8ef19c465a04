"""The systems of the papers, one file a paper: find one by its name, or those that a configuration names.

The name of a system is that of its row in the paper's table, such as "ws-linguistic+log1p", with these endings, in
this order:

    -N         a given layer N instead of the chosen one, after "layer"
    +log1p     the log1p spectrum beside the aggregated features, where the paper has such a row
    +complex   a complex mask by a network of our own, in a row with the spectrum (`enhancers.complex_mask`)
    +waveform  a network in the waveform domain, in a row without the spectrum (`enhancers.waveform_enhancer`)
    +norm-K    feature normalisation in layer K, or in several: +norm-0.1.2 (`representations.feature_normalisation`)
    +tuned-K   the encoder's blocks from K on are trained with the enhancer (1 is the first block); K is also
               "entire" (everything) or "partial" (all but what makes frames of the waveform)
    @M         model M of the row, from other initial weights (the setting `enhance.seeds` makes them)

A new paper is a new file with its `SYSTEMS` and an entry in `PAPERS`, and in `TABLES` if `phonemi table` makes one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from phonemi.errors import ConfigError, nearest
from phonemi.systems import han2026, hung2022, tabatabaee2026, yang2023
from phonemi.systems.system import LAST_LAYER, Cascade, Look, Printed, System, TablePlan, numbered_name, numbered_seed

__all__ = [
    "LAST_LAYER",
    "PAPERS",
    "TABLES",
    "Cascade",
    "Look",
    "Printed",
    "System",
    "TablePlan",
    "find_system",
    "find_systems",
    "known_system",
    "numbered_name",
    "numbered_seed",
]

PAPERS: list[dict[str, System]] = [han2026.SYSTEMS, hung2022.SYSTEMS, tabatabaee2026.SYSTEMS]
"""The systems of each paper by name."""

TABLES: dict[str, TablePlan] = {
    plan.name: plan for paper in (han2026, hung2022, yang2023, tabatabaee2026) for plan in paper.PLANS
}
"""The tables of the papers by name."""


def find_system(name: str) -> System:
    """The system of a name, or a ConfigError that says the nearest one.

    >>> find_system("layer-11+log1p@2").label
    'layer 11 + log1p'
    >>> find_system("ws-acoustic+tuned-5").label
    'WS (Acoustic), encoder tuned from block 5'
    """
    if system := known_system(name):
        return system
    base, at, number = name.partition("@")
    if at and (number == "1" or not re.fullmatch(r"[1-9]\d{0,2}", number)):
        raise ConfigError(f"row {name!r}: models of a row are numbered from @2; the first has no number")
    first, plus, _ = base.partition("+")
    if plus and known_system(first):
        raise ConfigError(
            f"unknown row {name!r}: +log1p and +tuned-K can be added to a row with an encoder, +complex after log1p, "
            "+waveform where there is none"
        )
    rows = [
        row
        for paper in PAPERS
        for row, system in paper.items()
        if "+" not in row and system.layer in (None, LAST_LAYER)
    ]
    raise ConfigError(f"unknown row {name!r}; {nearest(first, rows)}")


def known_system(name: str) -> System | None:
    """The system of a name; None if no paper has it, for instance because it is a system from elsewhere."""
    parts = re.fullmatch(
        r"(?P<row>[^+@]*?)(-(?P<layer>\d+))?(?P<log1p>\+log1p)?(?P<complex>\+complex)?(?P<waveform>\+waveform)?"
        r"(\+norm-(?P<norm>\d+(\.\d+)*))?(\+tuned-(?P<block>\d+|entire|partial))?(@(?P<model>[1-9]\d{0,2}))?",
        name,
    )
    if parts is None:
        return None
    systems = {key: system for paper in PAPERS for key, system in paper.items()}
    log1p = parts["log1p"] or ""
    frozen_name = parts["row"] + (f"-{parts['layer']}" if parts["layer"] else "") + log1p
    system = systems.get(frozen_name) or systems.get(parts["row"] + log1p)
    if system is None or parts["model"] == "1":
        return None
    if parts["layer"] is not None and frozen_name not in systems:
        if not system.chooses_layer:
            return None
        label = system.label.replace("best single layer", f"layer {int(parts['layer'])}")
        system = replace(system, layer=int(parts["layer"]), label=label)
    if parts["complex"]:
        if not system.spectrum or system.network != "mask":
            return None
        system = replace(
            system,
            label=f"{system.label}, complex mask",
            network="complex",
            compared_with=(frozen_name, *system.compared_with),
            look=None,
            printed={},
        )
        frozen_name += "+complex"
    if parts["waveform"]:
        if system.spectrum or system.network != "mask":
            return None
        system = replace(
            system,
            label=f"{system.label}, in the waveform",
            network="waveform",
            compared_with=(frozen_name, *system.compared_with),
            look=None,
            printed={},
        )
        frozen_name += "+waveform"
    if parts["norm"]:
        if not system.uses_encoder:
            return None
        layers = tuple(sorted({int(layer) for layer in parts["norm"].split(".")}))
        which = f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"
        system = replace(
            system,
            label=f"{system.label}, {which} normalised",
            normalised_layers=layers,
            compared_with=(frozen_name, *system.compared_with),
            look=None,
            printed={},
        )
    if parts["block"] is not None:
        if not system.uses_encoder:
            return None
        part = parts["block"]
        # With normalisation it is an alternative to the same fine-tuning without.
        as_tuned = f"{frozen_name}+tuned-{part}" if parts["norm"] else frozen_name
        # What inverts is an alternative to what inverts with an encoder tuned as much.
        alike = [f"{other}+tuned-{part}" for other in system.compared_with if system.inverter]
        what = f"encoder tuned from block {int(part)}" if part.isdecimal() else f"encoder tuned ({part})"
        system = replace(
            system,
            label=f"{system.label}, {what}",
            tuned_from_block=int(part) if part.isdecimal() else 0,
            keeps_front_end=part == "partial",
            compared_with=tuple(dict.fromkeys((*alike, as_tuned, frozen_name, *system.compared_with))),
            look=None,
            printed={},
        )
    return replace(system, name=name, model=int(parts["model"] or 1))


def find_systems(names: Iterable[str], models: int = 1, models_of: Mapping[str, int] | None = None) -> list[System]:
    """The systems of a configuration, each with so many models: all first models, then all second ones, and so on.

    Args:
        names: of the rows.
        models: of each row.
        models_of: of single rows, by name, where it is another number.

    Raises:
        ConfigError: for a row that does not exist, is named twice, or is made of rows that are not named.
    """
    systems = [find_system(name) for name in names]
    for system in systems:
        if system.model != 1:
            raise ConfigError(
                f"row {system.name!r}: name the row alone, and set enhance.seeds to how many models it has"
            )
    repeated = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if repeated:
        raise ConfigError(f"row {repeated[0]!r} is named more than once in enhance.rows")
    counts = {system.name: models for system in systems} | dict(models_of or {})
    for name in models_of or {}:
        find_system(name)  # or an error; a row of another table is none
    further = [
        replace(system, name=numbered_name(system.name, model), model=model)
        for model in range(2, 1 + max(counts.values(), default=1))
        for system in systems
        if model <= counts[system.name]
    ]
    systems += further
    names_of_all = {system.name for system in systems}
    for system in systems:
        parts = [numbered_name(row, system.model) for row in system.cascade or ()]
        if not names_of_all.issuperset(parts):
            raise ConfigError(
                f"row {system.name!r} is made of {' and '.join(parts)}: name them in enhance.rows too, "
                "with as many models"
            )
    return systems

"""Names of the rows of the papers' tables -> what conditions the enhancer and how it is tuned.

log1p                                    the spectrum alone
layer | layer-11                         one layer: the one with the most MI on the validation split, or a given one
ws-acoustic | ws-linguistic | ws-hybrid  weighted sum, eq. (2)
dws-acoustic | ...                       dynamic weighted sum, eq. (3)
NAME+log1p                               the log1p spectrum beside the fused features
NAME@2, NAME@3, ...                      further models of the same row, from other initial weights (enhance.seeds)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from phonemi.errors import ConfigError, nearest

Tuning = Literal["acoustic", "linguistic", "hybrid"]
KNOWN = ("log1p", "layer", *(f"{kind}-{how}" for kind in ("ws", "dws") for how in ("acoustic", "linguistic", "hybrid")))


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: as in the configuration.
        kind: what aggregates the layers.
        tuning: when the aggregation is learned; None where there is nothing to learn.
        layer: index of a given single layer; None to choose it.
        log1p: whether the log1p spectrum is an input.
        model: which of the models of this row; 1 is the first.
    """

    name: str
    kind: Literal["log1p", "layer", "ws", "dws"]
    tuning: Tuning | None = None
    layer: int | None = None
    log1p: bool = False
    model: int = 1

    @property
    def base(self) -> str:
        """The row that this is a model of.

        >>> parse("layer-3@2").base
        'layer-3'
        """
        return self.name.partition("@")[0]

    def seed(self, of_run: int) -> int:
        """Seed of the initial weights and of the order of the batches: that of the run, or drawn from it."""
        return numbered_seed(of_run, self.model)

    @property
    def label(self) -> str:
        """As the paper prints it.

        >>> parse("ws-hybrid+log1p").label
        'WS (Hybrid) + log1p'
        """
        plain = {"log1p": "log1p", "layer": f"layer {self.layer}" if self.layer is not None else "best single layer"}
        text = plain.get(self.kind) or f"{self.kind.upper()} ({(self.tuning or '').capitalize()})"
        return text + (" + log1p" if self.log1p and self.kind != "log1p" else "")

    @property
    def is_frozen(self) -> bool:
        """Whether the aggregation stays as it is while the enhancer learns, so that fused features can be cached."""
        return self.tuning in (None, "linguistic")


def numbered_seed(of_run: int, number: int) -> int:
    """Seed of the first, second, ... of what is made several times: that of the run, then drawn from it."""
    return of_run if number == 1 else int(np.random.SeedSequence([of_run, number]).generate_state(1)[0])


def parse(name: str) -> Row:
    """Read a row's name.

    Raises:
        ConfigError: naming the nearest known row.

    >>> parse("layer-11")
    Row(name='layer-11', kind='layer', tuning=None, layer=11, log1p=False, model=1)
    """
    first, numbered, model = name.partition("@")
    if numbered:
        if not re.fullmatch("[1-9][0-9]?[0-9]?", model) or model == "1":
            raise ConfigError(f"row {name!r}: models of a row are numbered from @2; the first has no number")
        return replace(parse(first), name=name, model=int(model))
    base, plus, extra = name.partition("+")
    if (plus and extra != "log1p") or (plus and base == "log1p"):
        raise ConfigError(f"unknown row {name!r}: only +log1p can be added, to a row with an encoder")
    if base == "log1p":
        return Row(name, "log1p", log1p=True)
    single = re.fullmatch(r"layer(?:-(\d+))?", base)
    if single:
        return Row(name, "layer", layer=int(single[1]) if single[1] else None, log1p=bool(plus))
    if base not in KNOWN:
        raise ConfigError(f"unknown row {name!r}; {nearest(base, KNOWN)}")
    kind, tuning = base.split("-")
    return Row(name, cast(Literal["ws", "dws"], kind), cast(Tuning, tuning), log1p=bool(plus))


def parse_all(names: Iterable[str], models: int = 1) -> list[Row]:
    """Read the rows of a configuration, each with so many models: all first ones, then all second ones, and so on.

    Raises:
        ConfigError: for an unknown row, one that is named twice, or a numbered model.
    """
    rows = [parse(name) for name in names]
    for row in rows:
        if row.model != 1:
            raise ConfigError(f"row {row.name!r}: name the row alone, and set enhance.seeds to how many models it has")
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise ConfigError(f"row {twice[0]!r} is named more than once in enhance.rows")
    return rows + [parse(f"{row.name}@{model}") for model in range(2, models + 1) for row in rows]

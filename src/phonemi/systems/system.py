"""A system is one row of a paper's table: what it is made of, what of it is trained, and what it is compared with.

Everything that depends on which row is meant asks the `System`; nothing else looks into its name. The papers' systems
are in one file each (`han2026`, ...); `phonemi.systems.find_system` finds them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from phonemi.constants import Tuning

LAST_LAYER = -1


class Look(NamedTuple):
    """What tells a system from others in every figure."""

    hue: Literal["acoustic", "linguistic", "hybrid", "single", "spectrum"]
    dashed: bool = False
    hollow: bool = False


class Printed(NamedTuple):
    """The numbers of a row as its paper prints them; None where the table has a dash."""

    mi_bits: float | None
    si_sdri_db: float
    stoi: float
    pesq_wb_lqo: float
    wer: float


class Cascade(NamedTuple):
    """Two rows of a table, one after the other: the inverter of the second gets what the first makes of the speech."""

    enhancer: str
    inverter: str


@dataclass(frozen=True)
class System:
    """One row of a table."""

    name: str  # as `enhance.rows` has it, with "@2", "@3", ... for further models of the same row
    label: str  # as the tables show it
    aggregation: str | None = None  # key of `phonemi.aggregations`; None for a system without an encoder
    tuning: Tuning | None = None  # when the aggregation is learned; None where there is nothing to learn
    layer: int | None = None  # of a "single_layer", or LAST_LAYER; None: that with the most MI on the validation split
    spectrum: bool = False  # whether the log1p spectrum of the noisy speech is an input of the network
    tuned_from_block: int | None = None  # the first that is trained with the enhancer; None: the encoder stays frozen
    keeps_front_end: bool = False  # whether what makes frames of the waveform stays frozen all the same
    normalised_layers: tuple[int, ...] = ()  # of the encoder, whose features get the statistics of clean speech
    network: str | None = "mask"  # key of `phonemi.enhancers`, what makes the enhanced waveform; None: it makes none
    inverter: str | None = None  # key of `phonemi.inversion.networks`, what recovers articulation; None: nothing does
    hears_clean: bool = False  # whether it learns from clean speech instead of noisy
    cascade: Cascade | None = None  # rows that it is made of; nothing of it is trained
    compared_with: tuple[str, ...] = ()  # what this is an alternative to; the first of them that a run has counts
    look: Look | None = None  # what tells it apart in figures; None: a look is found for it
    terms: dict[str, str] = field(default_factory=dict, hash=False)  # words of its label -> what they mean
    printed: dict[str, Printed] = field(default_factory=dict, hash=False)  # encoder in the table -> numbers there
    model: int = 1  # of the row, from 1; they start from other initial weights

    @property
    def base(self) -> str:
        """Name of the row, without the number of the model."""
        return self.name.partition("@")[0]

    @property
    def uses_encoder(self) -> bool:
        """Whether there is an encoder whose layers are aggregated."""
        return self.aggregation is not None

    @property
    def learns_encoder(self) -> bool:
        """Whether blocks of the encoder are trained with the enhancer, so that its hidden states cannot be stored."""
        return self.tuned_from_block is not None

    @property
    def inverts(self) -> bool:
        """Whether it recovers articulation."""
        return self.inverter is not None or self.cascade is not None

    @property
    def changes_encoder(self) -> bool:
        """Whether the hidden states of its encoder are not those of the encoder of the run."""
        return self.learns_encoder or bool(self.normalised_layers)

    @property
    def learns_aggregation(self) -> bool:
        """Whether the aggregation is trained with the enhancer, all of it or in part."""
        return self.tuning in ("acoustic", "hybrid")

    @property
    def is_pretrained(self) -> bool:
        """Whether the aggregation is learned beforehand, to tell phones."""
        return self.tuning in ("linguistic", "hybrid")

    @property
    def chooses_layer(self) -> bool:
        """Whether its layer is the one with the most MI."""
        return self.aggregation == "single_layer" and self.layer is None

    def seed(self, run_seed: int) -> int:
        """Seed of the initial weights and of the order of the batches."""
        return numbered_seed(run_seed, self.model)


@dataclass(frozen=True)
class TablePlan:
    """A table of a paper: which rows it has, of which encoders, and what is set for them."""

    name: str  # as the command line has it
    rows: Callable[[str], tuple[str, ...]]  # name of an encoder -> its rows, in their order
    models: Mapping[str, str]  # name of an encoder -> the model that it is, on the hub
    encoders: Mapping[str, tuple[str, ...]]  # scale -> those of the table
    presets: Mapping[str, str]  # scale -> the configuration
    shared_rows: tuple[str, ...] = ()  # before those of the first encoder: the same for all of them
    settings: Callable[[str], tuple[str, ...]] = lambda encoder: ()  # KEY=VALUE of an encoder at scale "paper"
    folder: str = ""  # for the runs, so that tables of other settings keep theirs
    note: str = ""  # what is printed about the table, and of no row
    is_printed: bool = False  # whether the paper prints it: then ours stand beside the `System.printed` of its rows


def numbered_seed(run_seed: int, number: int) -> int:
    """Seed of the first, second, ... of what is made several times: that of the run, then seeds drawn from it."""
    return run_seed if number == 1 else int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])


def numbered_name(name: str, model: int) -> str:
    """Name of model 1, 2, ... of a row: "ws-hybrid", "ws-hybrid@2", ..."""
    return name if model == 1 else f"{name}@{model}"

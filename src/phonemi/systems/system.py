"""A system is one row of a paper's table: what it is made of, what of it is trained, and what it is compared with.

Everything that depends on which row is meant asks the `System`; nothing else looks into its name. The papers' systems
are in one file each (`han2026`, ...); `phonemi.systems.find_system` finds them by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from phonemi.constants import Tuning


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


@dataclass(frozen=True)
class System:
    """One row of a table.

    Attributes:
        name: as the setting `enhance.rows` has it, with "@2", "@3", ... for further models of the same row. label: as
        the tables show it. aggregation: key of `phonemi.aggregations`, such as "weighted_sum"; None for a system
        without an encoder. tuning: when the aggregation is learned; None where there is nothing to learn. layer: the
        layer of a "single_layer" aggregation; None: the one with the most MI on the validation split. spectrum:
        whether the log1p spectrum of the noisy speech is an input of the network. tuned_from_block: first block of
        the encoder that is trained with the enhancer; None: the encoder stays frozen. network: key of
        `phonemi.enhancers`, the network that makes the enhanced waveform. compared_with: names of the systems that
        this one is an alternative to, the best choice first; a run compares with
            the first that it has.
        look: what tells it apart in figures; None: a look is found for it.
        terms: words of its label that a reader may not know, and what they mean.
        printed: encoder in the paper's table -> the numbers that stand there.
        model: which model of the row this is, 1 for the first: they start from other initial weights.
    """

    name: str
    label: str
    aggregation: str | None = None
    tuning: Tuning | None = None
    layer: int | None = None
    spectrum: bool = False
    tuned_from_block: int | None = None
    network: str = "mask"
    compared_with: tuple[str, ...] = ()
    look: Look | None = None
    terms: dict[str, str] = field(default_factory=dict, hash=False)
    printed: dict[str, Printed] = field(default_factory=dict, hash=False)
    model: int = 1

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


def numbered_seed(run_seed: int, number: int) -> int:
    """Seed of the first, second, ... of what is made several times: that of the run, then seeds drawn from it."""
    return run_seed if number == 1 else int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])

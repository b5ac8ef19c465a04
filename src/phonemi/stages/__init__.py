"""The stages of the work, one file each: each reads earlier results of RUN, writes its own, and skips what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonemi.config import Config
    from phonemi.stages.run import Run


def first_stage(config: Config) -> str:
    """The command that a run of this configuration begins with."""
    if not config.enhance.rows:
        return "evaluate"
    return "pretrain" if config.representation == "encoder" else "information"


def run_stages(run: Run) -> None:
    """Every stage in its order; what is done is skipped."""
    from phonemi.stages.aggregate import pretrain_aggregations
    from phonemi.stages.evaluate import evaluate_systems
    from phonemi.stages.information import measure_information
    from phonemi.stages.pretrain import pretrain_encoder
    from phonemi.stages.showcase import write_showcase
    from phonemi.stages.train import train_systems

    pretrain_encoder(run)
    measure_information(run)
    pretrain_aggregations(run)
    train_systems(run)
    evaluate_systems(run)
    write_showcase(run)

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


def run_stages(run: Run, shard: tuple[int, int] | None = None) -> bool:
    """Every stage in its order; what is done is skipped, and what another process does is waited for.

    Args:
        run: whose stages.
        shard: (i, n) of n launches: train and score every n-th model alone.

    Returns:
        Whether all is done; of a shard only when the others are.
    """
    from phonemi.stages.aggregate import pretrain_aggregations
    from phonemi.stages.evaluate import evaluate_systems, score_systems
    from phonemi.stages.information import measure_information
    from phonemi.stages.pretrain import pretrain_encoder
    from phonemi.stages.showcase import write_showcase
    from phonemi.stages.train import train_systems

    pretrain_encoder(run)
    measure_information(run)
    pretrain_aggregations(run)
    train_systems(run, shard=shard)
    if not score_systems(run, shard):
        return False
    evaluate_systems(run)
    with run.claimed("showcase"):
        write_showcase(run)
    return True

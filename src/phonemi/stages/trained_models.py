"""The trained models of a run, RUN/rows/<system>/model: whether they are there, and what they are."""

from __future__ import annotations

from pathlib import Path

from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import DataError
from phonemi.inversion.inverter import MODEL_TYPE as INVERTER_TYPE
from phonemi.inversion.inverter import Inverter
from phonemi.stages.run import Run
from phonemi.systems import System, find_system, numbered_name
from phonemi.weights.shipped import CONFIG_FILE, type_of


def is_trained(run: Run, system: System) -> bool:
    """Whether the system's model is there and belongs to this configuration; of a cascade both models."""
    if system.cascade is not None:
        return all(is_trained(run, find_system(numbered_name(row, system.model))) for row in system.cascade)
    return run.folder.is_current(result_file(system), run.keys.model(system))


def result_file(system: System) -> str:
    """What is written last of the model of a system, below RUN."""
    return f"rows/{system.name}/result.json"


def load_model(folder: Path) -> Enhancer | Inverter:
    """The model of a system that was trained: where it does both, the enhancer."""
    is_inverter = type_of(folder / CONFIG_FILE) == INVERTER_TYPE
    return Inverter.from_pretrained(folder) if is_inverter else Enhancer.from_pretrained(folder)


def require_trained(run: Run, system: System) -> None:
    """Raise a DataError that names the command to run, unless the system's model is there."""
    if not is_trained(run, system):
        command = run.folder.command("train")
        raise DataError(f"row {system.name!r} is not trained with this configuration: run `{command}` first")

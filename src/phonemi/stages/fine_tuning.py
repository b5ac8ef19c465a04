"""Measure what fine-tuning did to the layers: RUN/fine_tuned_information.json, the MI of every layer of the encoders
that the trained rows of a run have learned or normalised, by the probes and on the frames of RUN/information.json.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain

from phonemi.errors import DataError
from phonemi.results.information import Information
from phonemi.results.record import read_record
from phonemi.stages import information
from phonemi.stages.labelled_frames import labelled_frames
from phonemi.stages.run import Run
from phonemi.stages.trained_models import is_trained, load_model
from phonemi.systems import System

RESULT = "fine_tuned_information.json"


def measure_fine_tuned(run: Run) -> None:
    """Measure every model of every trained row whose hidden states are not those of the run's encoder.

    Raises:
        DataError: if there is none, or the encoder itself is not measured yet.
    """
    run.folder.read(information.RESULT, run.keys.information, "what fine-tuning did", "information")
    changed = [system for system in run.systems if system.changes_encoder and is_trained(run, system)]
    if not changed:
        raise DataError(
            "no trained row of this run changes its encoder: name one in enhance.rows, such as "
            f"ws-acoustic+tuned-entire, and run `{run.folder.command('train')}` first"
        )
    key = run.keys.fine_tuned_information([run.keys.model(system) for system in changed])
    if run.is_done("what fine-tuning did:", RESULT, key):
        return
    with run.folder.timed("what fine-tuning did"):
        run.share({f"layers.{system.name}": partial(_measure_layers, run, system) for system in changed})
        parts = [read_record(run.folder / _layers_file(system), Information) for system in changed]
        result = replace(
            parts[0],
            key=key,
            rows=tuple(chain.from_iterable(part.rows for part in parts)),
            average=tuple(chain.from_iterable(part.average for part in parts)),
            validation=tuple(chain.from_iterable(part.validation for part in parts)),
        )
        run.folder.write(RESULT, result.to_json())


def _layers_file(system: System) -> str:
    return f"rows/{system.name}/layers.json"


def _measure_layers(run: Run, system: System) -> None:
    """Measure every layer of the encoder of one model, unless it is measured."""
    path, key = _layers_file(system), run.keys.fine_tuned_information([run.keys.model(system)])
    if run.folder.is_current(path, key):
        return
    encoder = load_model(run.folder.model(system.name)).representation
    assert encoder is not None
    keys = run.keys.with_encoder(run.keys.model(system))
    lists = information.measure_layers(
        run, labelled_frames(run, encoder.to(run.device), system.name, keys), system.name
    )
    before = read_record(run.folder / information.RESULT, Information)
    measured = replace(before, key=key, protocol={**before.protocol, "before": run.encoder_name}, **lists)
    run.folder.write(path, measured.to_json())

"""Measure what fine-tuning did to the layers: RUN/fine_tuned_information.json, the MI of every layer of the encoders
that the trained rows of a run have learned or normalised, by the probes and on the frames of RUN/information.json.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

from phonemi.errors import DataError
from phonemi.results.information import Information, LayerBound
from phonemi.results.record import read_record
from phonemi.stages import information
from phonemi.stages.labelled_frames import labelled_frames
from phonemi.stages.run import Run
from phonemi.stages.train import is_trained, load_model
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
        for wait in (False, True):  # first what no other process is at
            parts = [part for system in changed if (part := _measure_layers(run, system, wait))]
        result = replace(
            parts[0],
            key=key,
            rows=tuple(chain.from_iterable(part.rows for part in parts)),
            average=tuple(chain.from_iterable(part.average for part in parts)),
            validation=tuple(chain.from_iterable(part.validation for part in parts)),
        )
        run.folder.write(RESULT, result.to_json())


def _measure_layers(run: Run, system: System, wait: bool) -> Information | None:
    """Every layer of the encoder of one model, from RUN/rows/<system>/layers.json where it is there.

    None if another process is at it, unless it is waited for.
    """
    path, key = f"rows/{system.name}/layers.json", run.keys.fine_tuned_information([run.keys.model(system)])
    with run.claimed(f"layers.{system.name}", wait) as is_ours:
        if not run.folder.is_current(path, key):
            if not is_ours:
                return None
            encoder = load_model(run.folder.model(system.name)).representation
            assert encoder is not None
            keys = run.keys.with_encoder(run.keys.model(system))
            splits = labelled_frames(run, encoder.to(run.device), system.name, keys)
            features = {split: frames.states.frames for split, frames in splits.items()}
            lists: dict[str, Any] = {
                list_name: tuple(
                    LayerBound(representation=system.name, layer=layer, snr_db=snr_db, **vars(bound))
                    for layer, snr_db, bound in bounds
                )
                for list_name, bounds in information.measure_frames(run, features, splits, system.name).items()
            }
            before = read_record(run.folder / information.RESULT, Information)
            measured = replace(before, key=key, protocol={**before.protocol, "before": run.encoder_name}, **lists)
            run.folder.write(path, measured.to_json())
    return read_record(run.folder / path, Information)

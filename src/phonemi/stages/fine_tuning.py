"""Measure what fine-tuning did to the layers: RUN/fine_tuned_information.json, the MI of every layer of the encoders
that the trained rows of a run have learned or normalised, by the probes and on the frames of RUN/information.json.
"""

from __future__ import annotations

from phonemi.errors import DataError
from phonemi.results.information import Information, LayerBound
from phonemi.results.record import read_record
from phonemi.stages import information
from phonemi.stages.labelled_frames import labelled_frames
from phonemi.stages.run import Run
from phonemi.stages.train import is_trained, load_model

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
    lists: dict[information.ListName, list[LayerBound]] = {"rows": [], "average": [], "validation": []}
    with run.folder.timed("what fine-tuning did"):
        for system in changed:
            encoder = load_model(run.folder.model(system.name)).representation
            assert encoder is not None
            keys = run.keys.with_encoder(run.keys.model(system))
            splits = labelled_frames(run, encoder.to(run.device), system.name, keys)
            features = {split: frames.states.frames for split, frames in splits.items()}
            for list_name, bounds in information.measure_frames(run, features, splits, system.name).items():
                lists[list_name] += [
                    LayerBound(representation=system.name, layer=layer, snr_db=snr_db, **vars(bound))
                    for layer, snr_db, bound in bounds
                ]
        before = read_record(run.folder / information.RESULT, Information)
        result = Information(
            key=key,
            classes=before.classes,
            snrs_db=before.snrs_db,
            protocol={**before.protocol, "before": run.encoder_name},
            rows=tuple(lists["rows"]),
            average=tuple(lists["average"]),
            validation=tuple(lists["validation"]),
        )
        run.folder.write(RESULT, result.to_json())

"""Train the probe that judges how much of the phones a recording keeps, once for a run: RUN/phone_judge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from phonemi.data.alignment import frame_labels
from phonemi.data.manifest import Interval
from phonemi.data.mixing import Mixture, PlannedMixtures
from phonemi.information.phones_kept import PhoneJudge
from phonemi.probes.layer_probes import train_probes
from phonemi.stages import information
from phonemi.stages.labelled_frames import choose_frames, count_classes, label_frames, labelled_frames
from phonemi.stages.run import Run
from phonemi.stages.test_sets import TestSet
from phonemi.tables import duration_text

CLEAN_DB = 60.0  # SNR of speech that counts as clean
RESULT = "phone_judge/result.json"
MODEL = "phone_judge"  # what `PhoneJudge.load` reads


def prepare_phone_judge(run: Run) -> PhoneJudge:
    """The judge of this run: a probe on the noisy and the clean training speech, never on the test speakers.

    Its layer is the one with the most information on validation, or the last where nothing is held out.
    """
    settings, key = run.config.information, run.keys.phone_judge
    if not run.folder.is_current(RESULT, key):
        layer = information.best_layer(run, "the phone judge") if run.data.holds_out else run.encoder.layers - 1
        noisy = labelled_frames(run, run.encoder)["train"]
        speech = noisy.mixtures.speech
        clean = PlannedMixtures(speech, noisy.mixtures.noise, snrs_db=(CLEAN_DB,), seed=run.config.seed)
        subset = choose_frames(settings, clean, run.data.seed, per_copy=True)
        states = run.states.states(run.encoder, clean, "phone_judge.clean", key, subset)
        values = torch.cat([part.frames.values[:, layer] for part in (noisy.states, states)])
        phones = torch.cat([noisy.labels.phones, label_frames(clean, settings, subset).phones])
        run.say(f"evaluate: phone judge on layer {layer} of {run.encoder_name}, {duration_text(len(phones) * 0.02)}")
        probe = train_probes(
            values[None],
            phones,
            classes=count_classes(settings),
            generator=torch.Generator().manual_seed(run.config.seed),
            device=run.device,
            bf16=settings.precision == "bf16",
            **settings.model_dump(include=information.PROBE_SETTINGS),
        )
        counts = torch.bincount(phones[phones >= 0], minlength=count_classes(settings)) + 1  # none is impossible
        (run.folder / RESULT).unlink(missing_ok=True)  # what it stands for is overwritten in several steps
        PhoneJudge(run.encoder, layer, probe, counts / counts.sum()).save(run.folder / MODEL)
        run.folder.write(RESULT, {"key": key})
    judge = PhoneJudge.load(run.folder / MODEL, run.encoder)
    judge.probe.to(run.device)
    return judge


class PhoneLabels:
    """The phones of the recordings of a test set: aligned with the clean speech or, without any, recognised in it."""

    def __init__(self, run: Run, judge: PhoneJudge, test_set: TestSet) -> None:
        self.judge, self._settings, self._test_set = judge, run.config.information, test_set
        self._recognised: dict[int, Tensor] = {}

    def of(self, index: int, mixture: Mixture) -> Tensor:
        """Class of each frame, [frame]."""
        phones = self._aligned(index)
        if phones is not None:
            count = self.judge.encoder.frames(len(mixture.noisy))
            settings = self._settings
            return torch.from_numpy(frame_labels(phones, count, settings.label_at, settings.silence, settings.stress))
        clean = np.asarray(mixture.clean)
        sound = hash(clean.tobytes())  # it comes again in other rows and at other SNRs
        if sound not in self._recognised:
            self._recognised[sound] = self.judge.recognise(clean)
        return self._recognised[sound]

    def _aligned(self, index: int) -> tuple[Interval, ...] | None:
        if isinstance(self._test_set, PlannedMixtures):
            return self._test_set.describe(index).phones
        return self._test_set.recordings[index].phones

"""The key of every result: a hash of the settings that affect it and of the keys of what it is made of.

Which settings affect a result is declared where the setting is (`config.sections.setting`). What a result is made of is
declared here, one property or method each. A result on disk is current as long as its key is what it would be now.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from phonemi.config.sections import Config, Result
from phonemi.data.fingerprints import fingerprint_files
from phonemi.devices import choose_device
from phonemi.files import content_hash
from phonemi.stages.data_splits import manifest_version
from phonemi.stages.recognisers import recogniser_of
from phonemi.systems import System, find_system, numbered_name
from phonemi.weights import shipped

# How results are made changed with version 0.2: those of before are not taken for new ones.
PAIRED = ("one clip for all SNRs",)
CHOICE = "checkpoint with the best validation, and its probe"
WORDS = "words by Whisper's normaliser"
STATISTICS = "over models and speakers"
PROTOCOL = "protocol and loops beside the table"


class Keys:
    """Keys of the results of a run on data of a version; `cache` is where the contents of files are remembered."""

    def __init__(self, config: Config, data: str, cache: Path) -> None:
        self.config, self.data, self._cache = config, data, cache

    def of(self, result: Result, *made_of: Any) -> str:
        """Hash of the settings that affect a result, and of what it is made of."""
        return content_hash(result, self.data, self.config.settings_that_affect(result), *made_of)

    def with_encoder(self, encoder: str) -> Keys:
        """The keys with another encoder in the place of the run's, for instance one that a system has learned."""
        keys = Keys(self.config, self.data, self._cache)
        keys.encoder = encoder
        return keys

    @cached_property
    def encoder(self) -> str:
        """The encoder: how it is trained, or which version of a given one it is."""
        name = self.config.representation
        if name == "encoder":
            own = self.config.settings_that_affect("encoder")
            for round_ in own["encoder.rounds"]:
                if "teacher" in round_:
                    round_["teacher"] = self.model_version(round_["teacher"])
            return content_hash("encoder", self.data, own)
        settings = {key: value for key, value in self.config.settings_that_affect("encoder").items() if "." not in key}
        return content_hash("encoder", self.data, settings, self.model_version(name))

    def frames(self, split: str, dynamic: bool = False) -> str:
        """Hidden states of the speech that probes are trained and judged on; of the data that only dws learns from."""
        results: dict[str, Result] = {"train": "frames.train", "validation": "frames.validation", "test": "frames.test"}
        return self.of(results[split], self.encoder, dynamic, *(() if split == "train" else PAIRED))

    @property
    def information(self) -> str:
        """information.json."""
        return self.of("information", STATISTICS, *(self.frames(split) for split in ("train", "validation", "test")))

    def cn_distance(self, models: list[str]) -> str:
        """cn_distance.json: of the encoder, and of those that the models with these keys have learned."""
        return content_hash("clean-noisy distance of all models", STATISTICS, self.frames("test"), models)

    def fine_tuned_information(self, models: list[str]) -> str:
        """fine_tuned_information.json, of the encoders that the models with these keys have changed."""
        return content_hash("fine-tuned information", self.information, models)

    @property
    def aggregations(self) -> str:
        """The pre-trained aggregations."""
        frames = [self.frames("train"), self.frames("train", dynamic=True), self.frames("validation")]
        return self.of("aggregations", CHOICE, *frames)

    def mixtures(self, split: str) -> str:
        """What enhancers are trained or validated on."""
        return self.of("mixtures.train" if split == "train" else "mixtures.validation")

    def states(self, split: str) -> str:
        """Hidden states of these."""
        if split != "train":
            return content_hash("states", self.mixtures(split), self.encoder)
        # Neighbours in a padded batch change each other's states, so their number matters there, and only there.
        settings = self.config.enhance
        padded_batch = settings.batch if settings.encoder_padding == "batch" else None
        return self.of("states.train", self.mixtures(split), self.encoder, padded_batch)

    @property
    def clean_statistics(self) -> str:
        """Statistics of clean features."""
        settings = self.config.enhance
        reference = settings.feature_reference if settings.feature_reference == "pretraining" else "global"
        return content_hash("clean statistics", self.data, self.encoder, reference, settings.reference_utterances)

    def model(self, system: System) -> str:
        """The trained model of a system."""
        settings = self.config.settings_that_affect("models")
        enhance = {key: value for key, value in settings.items() if key.startswith("enhance.")}
        enhance.pop("enhance.phone_judge", None)  # its contents count, where it is asked
        made_of: list[Any] = [system.name, enhance, *(self.mixtures(split) for split in ("train", "validation"))]
        if system.uses_encoder:
            made_of += [self.states(split) for split in ("train", "validation")]
        if system.cascade is not None:
            halves = [find_system(numbered_name(row, system.model)) for row in system.cascade]
            return content_hash("cascade", *map(self.model, halves))
        if system.inverter is not None:
            made_of.append({key: value for key, value in settings.items() if key.startswith("inversion.")})
        if system.tuning is not None:
            made_of.append({key: value for key, value in settings.items() if key.startswith("aggregate.")})
        if (start := enhance.pop("enhance.start", None)) is not None:
            made_of.append(self.model_version(start))
        elif system.is_pretrained:
            made_of.append(self.aggregations)
        if system.chooses_layer:
            made_of.append(self.information)
        if self.config.enhance.phone_weight:
            made_of.append(self.model_version(self.config.enhance.phone_judge))
        return content_hash("model", self.data, *made_of)

    @property
    def phone_judge(self) -> str:
        """The probe that judges how much of the phones a recording keeps."""
        return content_hash("phone judge of phonemi 0.2", self.information, self.frames("train"))

    def scores(self, name: str, made_by: Any, packages: dict[str, str | None]) -> str:
        """The scores of one row of the table, whose signals are made by what has the key or version `made_by`.

        They depend on the versions of the `packages` that compute them. Without one some scores fail, until it is
        installed.
        """
        lps = self.config.evaluate.lps
        judge = [self.phone_judge] if self.config.evaluate.phone_bits else []
        judge += [self.model_version(lps)] if lps else []
        judge += ["articulation"] if any(find_system(row).inverts for row in self.config.enhance.rows) else []
        paired = PAIRED if self.config.evaluate.per_utterance is None else ()
        settings = self.config.settings_that_affect("scores")
        for manifest in ("evaluate.pairs", "evaluate.recordings"):
            settings[manifest] = settings[manifest] and self._test_recordings
        made_of = name, made_by, WORDS, *paired, *judge, self._test_recordings, *self._recogniser, packages
        return content_hash("scores", self.data, settings, *made_of)

    @cached_property
    def _test_recordings(self) -> str | None:
        """The contents of the manifest that is judged, wherever it lies."""
        path = self.config.evaluate.pairs or self.config.evaluate.recordings
        return None if path is None else manifest_version(path, self._cache)

    @cached_property
    def _recogniser(self) -> tuple[Any, str | None]:
        """What recognises the words here and how, and the version of its model."""
        settings = self.config.evaluate
        choice = recogniser_of(settings, choose_device(self.config.device).type)
        if choice is None:
            return "none", None
        # Rows are compared with each other: all of them should be judged by one decoder, of one version, on one device.
        decoding = choice.recogniser.decoding
        return decoding, self.model_version(settings.whisper) if decoding["recogniser"] == "whisper" else None

    def aggregated_information(self, systems: list[System]) -> str:
        """MI of the aggregated features of trained systems."""
        return content_hash("aggregated information", self.information, [self.model(system) for system in systems])

    def metrics(self, scores: list[str], systems: list[System]) -> str:
        """metrics.json: the scores of all rows, and the MI of the features of the systems."""
        information = [self.information, *(self.model(system) for system in systems)] if systems else []
        return self.of("metrics", STATISTICS, PROTOCOL, scores, information)

    def examples(self, metrics: str) -> str:
        """What the report shows and plays."""
        return self.of("examples", metrics)

    def model_version(self, name: str) -> str:
        """A shipped model and a folder by their contents; what is on the hub by its name."""
        if len(parts := shipped.parts_of(name)) > 1:
            return shipped.SIDE_BY_SIDE.join(map(self.model_version, parts))
        if (version := shipped.version_of(name)) is not None:
            return version
        folder = Path(name)
        if folder.is_dir():
            return fingerprint_files([folder], self._cache)
        return name

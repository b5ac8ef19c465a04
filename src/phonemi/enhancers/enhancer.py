"""`Enhancer`, the class that users load: enhances recordings, files and folders; saved to a folder or the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from phonemi import signal
from phonemi.aggregations.base import Aggregation
from phonemi.aggregations.storage import build_aggregation
from phonemi.enhancers.base import Enhancement, EnhancerNetwork, minimum_gain
from phonemi.enhancers.networks import build_network
from phonemi.enhancers.pretrained import ENCODER, MODEL_TYPE, check_version, find, store_encoder
from phonemi.enhancers.recording_enhancer import RecordingEnhancer
from phonemi.errors import ModelError, PhonemiError
from phonemi.files import read_json, write_json, write_text
from phonemi.representations.base import Representation
from phonemi.representations.names import load_representation
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, valid_mask
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE, sha256
from phonemi.weights.tensors import load_weights, save_weights

if TYPE_CHECKING:
    from phonemi.inference import Summary
    from phonemi.progress import Progress

CARD_FILE = "README.md"  # the hub shows it as the page of the model


class Enhancer(RecordingEnhancer):
    """An encoder, an aggregation of its layers and a network, joined; in evaluation mode from the start.

    Args:
        representation: encoder; None for a network that hears the noisy waveform alone.
        aggregation: turns its hidden states into one sequence; None exactly when there is no representation.
        network: turns the noisy waveform and that sequence into the enhanced waveform, usually a `MaskEnhancer`.
        name: in tables and model cards.

    Attributes:
        mask_enhancer: the network, under the name that it has in state_dict and model files; `network` in the code.
        facts: extra fields for the model card, see `card.model_card`; filled by `from_pretrained`, add to them before
            saving.
        observer: called after each pass of the network with its input [batch, sample], its result and the lengths
            [batch] (None: all samples); None: nobody watches. See `observation`.

    Raises:
        ModelError: if the three do not fit each other.
    """

    def __init__(
        self,
        representation: Representation | None,
        aggregation: Aggregation | None,
        network: EnhancerNetwork,
        name: str = "enhancer",
    ):
        super().__init__()
        if (representation is None) != (aggregation is None):
            raise ModelError("an enhancer has an encoder and an aggregation of its layers, or neither")
        dim = 0 if representation is None else representation.dim
        if network.dim != dim:
            raise ModelError(f"the network expects features of size {network.dim}, the encoder gives {dim}")
        if representation is not None and aggregation is not None:
            aggregation.check_fits(representation.layers, dim)
            if network.hop != representation.hop:
                raise ModelError(
                    f"the network expects a frame every {network.hop} samples, "
                    f"the encoder gives one every {representation.hop}"
                )
        self.representation = representation
        self.aggregation = aggregation
        self.mask_enhancer = network
        self.name = name
        self.facts: dict[str, Any] = {}
        self.observer: Callable[[Tensor, Enhancement, Tensor | None], None] | None = None
        self.eval()

    @property
    def network(self) -> EnhancerNetwork:
        """The network that makes the enhanced waveform."""
        return self.mask_enhancer

    def fuse(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor | None:
        """Conditioning features of noisy waveforms [batch, sample] -> [batch, frame, dim]; None without an encoder."""
        if self.representation is None or self.aggregation is None:
            return None
        features: Tensor = self.aggregation(self.representation(noisy, lengths).states)
        return features

    def forward(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Enhance 16 kHz waveforms [batch, sample] of `lengths` samples [batch]; each as if it were alone."""
        return self.with_gains(noisy, lengths)[0]

    def with_gains(
        self, noisy: Tensor, lengths: Tensor | None = None, limit_db: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """`forward`, and the gains of the STFT; see `RecordingEnhancer.with_gains`."""
        samples = noisy.shape[-1]
        valid = None if lengths is None else valid_mask(lengths, samples)
        if valid is not None:
            noisy = noisy * valid
        # The encoder needs one receptive field.
        noisy = signal.pad_to(noisy, SSL_FIELD)
        if lengths is not None:
            lengths = lengths.clamp_min(SSL_FIELD)
        enhancement = self.network.denoise(noisy, self.fuse(noisy, lengths), lengths, limit_db)
        if self.observer is not None:
            self.observer(noisy, enhancement, lengths)
        enhanced, diagnostics = enhancement
        gains = diagnostics.get("gains")
        if gains is None:
            # Such a network has no bins to which it could apply the limit. A share of the noisy waveform does the same.
            min_gain = minimum_gain(self.network.attenuation_limit_db if limit_db is None else limit_db)
            if min_gain > 0:
                enhanced = min_gain * noisy + (1 - min_gain) * enhanced
            gains = _measure_gains(noisy, enhanced)
        return enhanced[:, :samples] if valid is None else enhanced[:, :samples] * valid, gains

    def enhance_file(
        self, source: str | Path, target: str | Path, *, progress: Progress | None = None, **options: Any
    ) -> list[str]:
        """Enhance a sound file of any length, as `phonemi enhance` does: see `inference.enhance_file`.

        Args:
            source: any sound file.
            target: the file to write. Its extension decides the format.
            progress: shows the seconds of sound that are done; None: no display.
            options: `batch_size`, `chunk_s`, `overlap_s`, and `mix`, `attenuation_limit_db`, `upper_band` of `enhance`.

        Returns:
            What a listener should know about the recording, one sentence each.

        Raises:
            AudioError: naming the file and what is wrong with it. The target is then not written.
        """
        from phonemi.inference import enhance_file  # imported here, because enhancing waveforms needs no files

        return enhance_file(self, Path(source), Path(target), progress=progress, **options)

    def enhance_folder(
        self,
        folder: str | Path,
        output: str | Path,
        *,
        suffix: str = "",
        extension: str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Summary:
        """Enhance every recording in a folder and its subfolders: see `inference.plan` and `inference.enhance_files`.

        Outputs that exist already and are no older than their source are skipped. A recording that fails does not stop
        the others.

        Args:
            folder: where the recordings are.
            output: folder for the enhanced recordings, with the same subfolders; created if absent.
            suffix: added to the name of every output, before its extension.
            extension: of every output, such as "flac"; None: that of its source.
            progress: shows the seconds of sound that are done; None: no display.
            options: `overwrite`, and those of `enhance_file`.

        Returns:
            What became of each recording, and why.

        Raises:
            AudioError: if there is nothing to enhance, or an input would be overwritten.
        """
        from phonemi.inference import enhance_files, plan

        pairs = plan([Path(folder)], Path(output), suffix, extension)
        return enhance_files(self, pairs, progress, **options)

    def save_pretrained(
        self,
        folder: str | Path,
        facts: dict[str, Any] | None = None,
        half: bool = False,
        shipped_encoder: str | None = None,
    ) -> None:
        """Write the model to a folder: config.json, model.safetensors, README.md (its card) and the encoder.

        The folder may be moved, and works with later versions of phonemi. An encoder of the hub is referred to by its
        name, unless it was trained. Any other encoder is copied, even one of ours, because a later release may ship
        different weights under the same name. Only models inside the package refer to an encoder of the package, by its
        name and the hash of its weights, which `from_pretrained` checks.

        config.json is written last and holds a hash of every other file, so that `from_pretrained` notices when saving
        over an older model was interrupted.

        Args:
            folder: created if absent.
            facts: what else to record and to say in the card: data, metrics, licence; None: the attribute `facts`.
            half: store parameters in half precision; they are float32 again when loaded.
            shipped_encoder: name of the encoder of the package that this one is, to refer to it instead of copying it.

        Raises:
            ModelError: if no encoder of that name ships, or it is another one.
        """
        from phonemi.enhancers.card import model_card  # not needed for enhancing

        folder = Path(folder)
        facts = self.facts if facts is None else facts
        settings: dict[str, Any] = {
            "model_type": MODEL_TYPE,
            "name": self.name,
            "sample_rate": SAMPLE_RATE,
            "mask_enhancer": {"kind": self.network.kind, **self.network.settings()},
            "representation": None,
            "aggregation": None,
            "facts": facts,
        }
        files = [WEIGHTS_FILE]
        if self.representation is not None and self.aggregation is not None:
            settings["aggregation"] = self.aggregation.settings()
            encoder_settings, encoder_files = store_encoder(self.representation, folder, half, shipped_encoder)
            settings |= encoder_settings
            files += encoder_files
        save_weights(_without_encoder(self.network, self.aggregation), folder / WEIGHTS_FILE, half, {"format": "pt"})
        settings["files"] = {file: sha256(folder / file) for file in files}
        size_mb = sum((folder / file).stat().st_size for file in files) / 1e6
        parts = self._parts(settings["representation"])
        card = model_card({"name": self.name, "parts": parts, "size_mb": size_mb, "sample_rate": SAMPLE_RATE, **facts})
        write_text(folder / CARD_FILE, card)
        write_json(folder / CONFIG_FILE, settings)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | bool | None = None,
        commit_message: str = "Upload an enhancer of phonemi",
        revision: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub, in one commit.

        Args:
            repo_id: "account/model", created if absent. `from_pretrained` takes the same.
            private: whether a newly created repository is visible to its account only.
            token: with the right to write; None: the one of `hf auth login` or HF_TOKEN.
            commit_message: first line of the commit.
            revision: branch, created if absent; None: main.

        Returns:
            Address of the page.

        Raises:
            ModelError: if the hub cannot be reached or refuses; the message says what to do.
        """
        from phonemi.enhancers.hub import push

        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, self.facts | {"load": repo_id})
            return push(Path(folder), repo_id, private, token, commit_message, revision)

    def _parts(self, encoder: str | None) -> list[dict[str, Any]]:
        """The parts of this enhancer for its card; `encoder` is the name under which config.json refers to it."""
        parts: list[tuple[str, str, nn.Module]] = []
        if self.representation is not None and self.aggregation is not None:
            size = f"{self.representation.layers} hidden states of {self.representation.dim}"
            kind = self.aggregation.kind.replace("_", " ")
            parts = [
                ("encoder", size if encoder == ENCODER else f"{encoder}: {size}", self.representation),
                ("aggregation", f"{kind} of {self.aggregation.layers} layers", self.aggregation),
            ]
        parts.append((f"{self.network.kind} enhancer", self.network.description(), self.network))
        return [
            {"part": part, "what": what, "parameters": sum(values.numel() for values in module.parameters())}
            for part, what, module in parts
        ]

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, token: str | bool | None = None
    ) -> Enhancer:
        """Load an enhancer.

        Args:
            name: "default" (it comes with the package), a folder written by `save_pretrained`, or a hub id. A model of
                the hub that was loaded once can be loaded again without a network.
            revision: branch, tag or commit on the hub.
            token: of the hub; None: the one of `hf auth login` or HF_TOKEN, if there is one.

        Raises:
            ModelError: if there is no such model, or its files are missing, damaged or do not fit each other.
        """
        folder = find(name, revision, token)
        try:
            return cls._load(folder, token)
        except PhonemiError as error:
            raise ModelError(f"loading enhancer {name}: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"loading enhancer {name}: {CONFIG_FILE} does not describe one ({error!r})") from None

    @classmethod
    def _load(cls, folder: Path, token: str | bool | None) -> Enhancer:
        settings = read_json(folder / CONFIG_FILE)
        if settings.get("model_type") != MODEL_TYPE:
            raise ModelError(f"it is a {settings.get('model_type')!r} model, not a {MODEL_TYPE!r}")
        if settings["sample_rate"] != SAMPLE_RATE:
            raise ModelError(
                f"it was trained at {settings['sample_rate']} Hz; this version runs {SAMPLE_RATE} Hz models"
            )
        for file, digest in settings.get("files", {}).items():
            if not (folder / file).is_file():
                raise ModelError(f"{file} is missing: copy or train the model again")
            if sha256(folder / file) != digest:
                raise ModelError(
                    f"{file} is not the one that {CONFIG_FILE} was written with, because a save was interrupted or the "
                    "file damaged: copy or train the model again"
                )
        representation = aggregation = None
        if settings["representation"] is not None:
            encoder = settings["representation"]
            check_version(encoder, settings.get("representation_sha256"))
            representation = load_representation(folder / ENCODER if encoder == ENCODER else encoder, token)
            for option, value in settings.get("representation_options", {}).items():
                setattr(representation, option, value)
            aggregation = build_aggregation(settings["aggregation"])
        model = cls(representation, aggregation, build_network(settings["mask_enhancer"]), settings["name"])
        load_weights(_without_encoder(model.network, aggregation), folder / WEIGHTS_FILE)
        # "load" is where this copy was uploaded to, which is not true of the next one.
        model.facts = {key: fact for key, fact in settings.get("facts", {}).items() if key != "load"}
        return model


def _without_encoder(network: EnhancerNetwork, aggregation: Aggregation | None) -> nn.Module:
    """The parts whose weights are in model.safetensors, under the names that they have there."""
    parts: dict[str, nn.Module] = {"mask_enhancer": network}
    return nn.ModuleDict(parts if aggregation is None else parts | {"aggregation": aggregation})


def _measure_gains(noisy: Tensor, enhanced: Tensor) -> Tensor:
    """Ratio of the enhanced to the noisy magnitude, at most 1: [batch, sample] twice -> [batch, frame, 257]."""
    noisy_magnitude, enhanced_magnitude = (signal.magnitude(signal.stft(waveform)) for waveform in (noisy, enhanced))
    return (enhanced_magnitude / noisy_magnitude.clamp_min(1e-10)).clamp_max(1)

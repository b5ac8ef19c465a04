"""Noisy recording [sample] or [channel, sample], any rate -> enhanced recording of the same shape, rate and type."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from phonemi.aggregations.base import Aggregation
from phonemi.aggregations.storage import build_aggregation
from phonemi.enhancers.mask_enhancer import MaskEnhancer
from phonemi.enhancers.pretrained import ENCODER, MODEL_TYPE, check_version, find, save_weights, store_encoder
from phonemi.enhancers.recording_enhancer import RecordingEnhancer
from phonemi.errors import ModelError, PhonemiError
from phonemi.files import read_json, write_json, write_text
from phonemi.representations.base import Representation
from phonemi.representations.mel_transformer import load_weights
from phonemi.representations.names import load_representation
from phonemi.signal import SAMPLE_RATE, SSL_FIELD, valid_mask
from phonemi.weights.shipped import CONFIG_FILE, WEIGHTS_FILE, sha256

if TYPE_CHECKING:
    from phonemi.inference import Summary
    from phonemi.progress import Progress

CARD_FILE = "README.md"  # what the hub shows


class Enhancer(RecordingEnhancer):
    """Representation, aggregation and mask enhancer joined: all that a user who wants clean speech meets.

    In evaluation mode from the start.

    Args:
        representation: frozen encoder; None for a mask from the log1p spectrum alone.
        aggregation: turns its hidden states into one sequence; None exactly when there is no representation.
        mask_enhancer: turns the noisy waveform and that sequence into the enhanced waveform.
        name: what tables and model cards call it.

    Attributes:
        facts: what the card says of it, see `card.model_card`: those it was loaded with, to add to before it is saved.

    Raises:
        ModelError: if the three do not fit each other.
    """

    def __init__(
        self,
        representation: Representation | None,
        aggregation: Aggregation | None,
        mask_enhancer: MaskEnhancer,
        name: str = "enhancer",
    ):
        super().__init__()
        if (representation is None) != (aggregation is None):
            raise ModelError("an enhancer has an encoder and an aggregation of its layers, or neither")
        dim = 0 if representation is None else representation.dim
        if mask_enhancer.dim != dim:
            raise ModelError(f"the mask enhancer expects features of size {mask_enhancer.dim}, the encoder gives {dim}")
        if representation is not None and aggregation is not None:
            aggregation.check_fits(representation.layers, dim)
            if mask_enhancer.hop != representation.hop:
                raise ModelError(
                    f"the mask enhancer expects a frame every {mask_enhancer.hop} samples, "
                    f"the encoder gives one every {representation.hop}"
                )
        self.representation = representation
        self.aggregation = aggregation
        self.mask_enhancer = mask_enhancer
        self.name = name
        self.facts: dict[str, Any] = {}
        self.eval()

    def fuse(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor | None:
        """Conditioning features of noisy waveforms [batch, sample] -> [batch, frame, dim], or None without encoder."""
        if self.representation is None or self.aggregation is None:
            return None
        return self.aggregation(self.representation(noisy, lengths).states)

    def forward(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor:
        """16 kHz waveforms [batch, sample], valid samples [batch] -> [batch, sample]; each as if it were alone."""
        return self.with_gains(noisy, lengths)[0]

    def with_gains(
        self, noisy: Tensor, lengths: Tensor | None = None, limit_db: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """`forward`, and the gains that come with it; arguments as for `MaskEnhancer.enhance_with_gains`."""
        samples = noisy.shape[-1]
        valid = None if lengths is None else valid_mask(lengths, samples)
        if valid is not None:
            noisy = noisy * valid
        # The encoder needs one receptive field.
        noisy = nn.functional.pad(noisy, (0, max(0, SSL_FIELD - samples)))
        at_least = None if lengths is None else lengths.clamp_min(SSL_FIELD)
        features = self.fuse(noisy, at_least)
        enhanced, gains = self.mask_enhancer.enhance_with_gains(noisy, features, at_least, limit_db)
        return enhanced[:, :samples] if valid is None else enhanced[:, :samples] * valid, gains

    def enhance_file(
        self, source: str | Path, target: str | Path, *, progress: Progress | None = None, **options: Any
    ) -> list[str]:
        """Enhance a sound file of any length, as `phonemi enhance` does: see `inference.enhance_file`.

        Args:
            source: any sound file.
            target: where to; another extension than the source's chooses another format.
            progress: shows seconds of sound, `Progress()` as the command does; None: nothing.
            options: `batch_size`, `chunk_s`, `overlap_s`, and `mix`, `attenuation_limit_db`, `upper_band` of `enhance`.

        Returns:
            What is wrong with the recording, one sentence each.

        Raises:
            AudioError: naming the file and what is wrong with it; nothing is left under the target's name.
        """
        from phonemi.inference import enhance_file  # here as below: who has waveforms needs no files

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
        """Enhance every recording in a folder, the same tree out: see `inference.plan` and `inference.enhance_files`.

        What is there already and no older than its source is skipped; a recording that fails stops no other.

        Args:
            folder: what is in its folders counts too.
            output: folder, made if absent.
            suffix: goes before the extension of every output.
            extension: of every output, such as "flac"; None: that of its source.
            progress: shows seconds of sound, `Progress()` as the command does; None: nothing.
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
        """Write config.json, model.safetensors, README.md (a card) and, unless the hub has it, the encoder.

        The folder may be moved, and works with later versions: the encoder is copied even if it came with the package,
        which may bring another one under that name. Only what ships beside it refers to it by name, with the hash of
        its weights; `from_pretrained` refuses any others.

        config.json comes last and holds a hash of every other file, so that an interrupted save over an older model is
        noticed by `from_pretrained`.

        Args:
            folder: made if absent.
            facts: what else to record and to say in the card: data, metrics, licence; None: the attribute `facts`.
            half: store parameters in half precision, which are float32 again when loaded.
            shipped_encoder: name of the shipped encoder that this one is, to refer to instead of a copy.

        Raises:
            ModelError: if `shipped_encoder` does not ship or is not this encoder.
        """
        from phonemi.enhancers.card import model_card  # not needed for enhancing

        folder = Path(folder)
        facts = self.facts if facts is None else facts
        settings: dict[str, Any] = {
            "model_type": MODEL_TYPE,
            "name": self.name,
            "sample_rate": SAMPLE_RATE,
            "mask_enhancer": self.mask_enhancer.settings(),
            "representation": None,
            "aggregation": None,
            "facts": facts,
        }
        files = [WEIGHTS_FILE]
        if self.representation is not None and self.aggregation is not None:
            settings["aggregation"] = self.aggregation.settings()
            named, copied = store_encoder(self.representation, folder, half, shipped_encoder)
            settings |= named
            files += copied
        save_weights(_trained(self.mask_enhancer, self.aggregation), folder / WEIGHTS_FILE, half)
        settings["files"] = {file: sha256(folder / file) for file in files}
        size_mb = sum((folder / file).stat().st_size for file in files) / 1e6
        own = {"name": self.name, "parts": self._parts(settings["representation"]), "size_mb": size_mb}
        write_text(folder / CARD_FILE, model_card(own | {"sample_rate": SAMPLE_RATE} | facts))
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
        """Put on the Hugging Face hub what `save_pretrained` writes, in one commit.

        Args:
            repo_id: "account/model", made if absent. `from_pretrained` takes the same.
            private: whether only its account sees a repository that is made.
            token: with the right to write; None: the one of `hf auth login` or HF_TOKEN.
            commit_message: first line of the commit.
            revision: branch, made if absent; None: main.

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
        """What it is made of, for the card."""
        mask = self.mask_enhancer
        inputs = [text for text, given in (("fused features", mask.dim), ("log1p spectrum", mask.log1p)) if given]
        what = f"BLSTM of {mask.blstm.num_layers} layers of {mask.blstm.hidden_size} on {' and '.join(inputs)}"
        parts: list[tuple[str, str, nn.Module]] = [("mask enhancer", what, mask)]
        if self.representation is not None and self.aggregation is not None:
            size = f"{self.representation.layers} hidden states of {self.representation.dim}"
            kind = self.aggregation.kind.replace("_", " ")
            parts = [
                ("encoder", size if encoder == ENCODER else f"{encoder}: {size}", self.representation),
                ("aggregation", f"{kind} of {self.aggregation.layers} layers", self.aggregation),
                *parts,
            ]
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
            name: "default" (it comes with the package), a folder written by `save_pretrained`, or a hub id. What was
                fetched once is there without a network too.
            revision: branch, tag or commit on the hub.
            token: of the hub; None: the one of `hf auth login` or HF_TOKEN, if there is one.

        Raises:
            ModelError: if there is no such model, files are missing or of different models, or do not fit each other.
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
        model = cls(representation, aggregation, MaskEnhancer(**settings["mask_enhancer"]), settings["name"])
        load_weights(_trained(model.mask_enhancer, aggregation), folder / WEIGHTS_FILE)
        model.facts = {key: fact for key, fact in settings.get("facts", {}).items() if key != "load"}
        return model


def _trained(mask_enhancer: MaskEnhancer, aggregation: Aggregation | None) -> nn.Module:
    """What model.safetensors holds: all but the encoder."""
    parts: dict[str, nn.Module] = {"mask_enhancer": mask_enhancer}
    return nn.ModuleDict(parts if aggregation is None else parts | {"aggregation": aggregation})

"""`Enhancer`, the class that users load: enhances recordings, files and folders; saved to a folder or the hub."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from phonemi import signal
from phonemi.aggregations import Aggregation
from phonemi.enhancers import pretrained
from phonemi.enhancers.base import Enhancement, EnhancerNetwork, minimum_gain
from phonemi.enhancers.options import EnhanceOptions, Purpose, UpperBand
from phonemi.enhancers.purpose import PhoneProbe, between_frames
from phonemi.enhancers.round_trip import RoundTrip, from_channels, to_channels
from phonemi.errors import AudioError, ConfigError, ModelError, PhonemiError
from phonemi.files import content_hash
from phonemi.inference.chunks import CHUNK_S, EnhancedChunk, enhance_in_chunks
from phonemi.inference.condition import Condition, examine, warn
from phonemi.inference.corpus import enhance_corpus
from phonemi.inference.plan import plan
from phonemi.inference.recordings import enhance_file
from phonemi.inference.summary import Summary
from phonemi.representations.base import Representation
from phonemi.representations.transformers_models import OPTIONS
from phonemi.signal import FFT, HOP, SAMPLE_RATE, SSL_FIELD, valid_mask
from phonemi.tables import plural
from phonemi.weights.hub import push

if TYPE_CHECKING:
    from phonemi.progress import Progress

# The gain above 8 kHz is the mean gain from 6 to 7.3 kHz. Bins above that are in the slope of the resampler's filters.
TOP_BINS = slice(6000 * FFT // SAMPLE_RATE, 7300 * FFT // SAMPLE_RATE)

# In each pass of the network, or the number of recordings if that is larger. More channels take more passes, not more
# memory; the results are the same.
MAX_CHANNELS_PER_PASS = 8

Waveform = TypeVar("Waveform", bound=np.ndarray | Tensor)


class Enhancer(nn.Module):
    """An encoder, an aggregation of its layers and a network, joined; in evaluation mode from the start.

    Enhancing sets no attribute, so that threads may share an enhancer.

    Args:
        representation: encoder; None for a network that hears the noisy waveform alone.
        aggregation: turns its hidden states into one sequence; None exactly when there is no representation.
        network: turns the noisy waveform and that sequence into the enhanced waveform, usually a `MaskEnhancer`.
        name: in tables and model cards.
        phone_probe: tells the phones from that sequence; for the purpose "recognition", the recording is mixed back
            where they can be told. Only for an enhancer without `recognition_network`.
        recognition_network: enhances for the purpose "recognition", by the same sequence. Without it and without a
            phone probe, that purpose cannot be asked for.

    Attributes:
        mask_enhancer: the network, under the name that it has in state_dict and model files; `network` in the code.
        facts: extra fields for the model card, see `card.model_card`; filled by `from_pretrained`, add to them before
            saving.
        observer: called after each pass of the network with its input [batch, sample], its result and the lengths
            [batch] (None: all samples); None: nobody watches. See `observation`.

    Raises:
        ModelError: if they do not fit each other.
    """

    def __init__(
        self,
        representation: Representation | None,
        aggregation: Aggregation | None,
        network: EnhancerNetwork,
        name: str = "enhancer",
        phone_probe: PhoneProbe | None = None,
        recognition_network: EnhancerNetwork | None = None,
    ):
        super().__init__()
        if (representation is None) != (aggregation is None):
            raise ModelError("an enhancer has an encoder and an aggregation of its layers, or neither")
        dim = 0 if representation is None else representation.dim
        if representation is not None and aggregation is not None:
            aggregation.check_fits(representation.layers, dim)
        for one in (network, recognition_network):
            if one is not None and one.dim != dim:
                raise ModelError(f"the network expects features of size {one.dim}, the encoder gives {dim}")
            if one is not None and representation is not None and one.hop != representation.hop:
                raise ModelError(
                    f"the network expects a frame every {one.hop} samples, "
                    f"the encoder gives one every {representation.hop}"
                )
        if phone_probe is not None and recognition_network is not None:
            raise ModelError("an enhancer with a network for recognition mixes nothing back: it takes no phone probe")
        if phone_probe is not None and (not dim or phone_probe.linear.in_features != dim):
            raise ModelError(f"the phone probe reads features of size {phone_probe.linear.in_features}, not {dim}")
        self.representation = representation
        self.aggregation = aggregation
        self.mask_enhancer = network
        self.phone_probe = phone_probe
        self.recognition_network = recognition_network
        self.name = name
        self.facts: dict[str, Any] = {}
        self.observer: Callable[[Tensor, Enhancement, Tensor | None], None] | None = None
        self.eval()

    @property
    def network(self) -> EnhancerNetwork:
        """The network that makes the enhanced waveform, for all purposes or for listening."""
        return self.mask_enhancer

    @property
    def sample_rate(self) -> int:
        """Of what `forward` takes and gives, in Hz. `enhance` takes any rate."""
        return SAMPLE_RATE

    @property
    def config(self) -> dict[str, Any]:
        """What it is made of, JSON-able: the settings of encoder, aggregation and network."""
        return pretrained.describe(self)

    @property
    def version(self) -> str:
        """Sixteen hexadecimal digits that change with any of its weights."""
        digest = hashlib.sha256()
        for key, values in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(values.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def origin(self, **options: Any) -> dict[str, Any]:
        """What decides how a recording comes out: name and hash of the model, and the options of `enhance`.

        Raises:
            ConfigError: for options out of their range.
        """
        wanted = EnhanceOptions(**options)
        made_of = {key: value for key, value in self.config.items() if key not in ("name", "representation")}
        encoder = {} if self.representation is None else self.representation.settings()
        own = {key: encoder[key] for key in OPTIONS if key in encoder}
        return {"model": self.name, "version": content_hash(self.version, made_of, own), **asdict(wanted)}

    def __repr__(self) -> str:
        made_of = [] if self.representation is None else [self.representation.name]
        if self.aggregation is not None:
            made_of.append(f"{self.aggregation.kind} of {plural(self.aggregation.layers, 'layer')}")
        own = [] if self.recognition_network is None else ["another for recognition"]
        size = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        device = next(self.parameters()).device
        parts = ", ".join([*made_of, self.network.description(), *own])
        return f"Enhancer({self.name}: {parts}; {size:.3g} M, {device})"

    def _apply(self, fn: Callable[[Tensor], Tensor], *options: Any, **named: Any) -> Self:
        """Refuses `half()` and its kin before they change anything."""
        if (dtype := fn(torch.zeros(1)).dtype) in (torch.float16, torch.bfloat16):
            raise ModelError(f"an enhancer computes in float32, not {dtype}: for speed on a GPU, use torch.autocast")
        super()._apply(fn, *options, **named)  # type: ignore[no-untyped-call]
        return self

    def fuse(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor | None:
        """Conditioning features of noisy waveforms [batch, sample] -> [batch, frame, dim]; None without an encoder."""
        if self.representation is None or self.aggregation is None:
            return None
        features: Tensor = self.aggregation(self.representation(noisy, lengths).states)
        return features

    def forward(self, noisy: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Enhance 16 kHz waveforms [batch, sample] of `lengths` samples [batch]; each as if it were alone."""
        if not isinstance(noisy, Tensor) or noisy.ndim != 2 or isinstance(lengths, int):
            raise AudioError(
                "expected tensors [batch, sample] at 16 kHz and lengths [batch]: `enhance` takes any other"
            )
        return self.with_gains(noisy, lengths)[0]

    def with_gains(
        self,
        noisy: Tensor,
        lengths: Tensor | None = None,
        limit_db: float | None = None,
        purpose: Purpose = "listening",
    ) -> tuple[Tensor, Tensor]:
        """`forward`, and the gains of the STFT, [batch, frame, 257]; `limit_db` as in `EnhancerNetwork.denoise`.

        Raises:
            ConfigError: for a purpose that the model does not serve.
        """
        self.check_purpose(purpose)
        network, probe = self.network, None
        if purpose == "recognition":
            network, probe = self.recognition_network or self.network, self.phone_probe
        samples = noisy.shape[-1]
        valid = None if lengths is None else valid_mask(lengths, samples)
        if valid is not None:
            noisy = noisy * valid
        # The encoder needs one receptive field.
        noisy = signal.pad_to(noisy, SSL_FIELD)
        if lengths is not None:
            lengths = lengths.clamp_min(SSL_FIELD)
        features = self.fuse(noisy, lengths)
        enhancement = network.denoise(noisy, features, lengths, limit_db)
        if self.observer is not None:
            self.observer(noisy, enhancement, lengths)
        enhanced, diagnostics = enhancement
        gains = diagnostics.get("gains")
        if gains is None:
            # Such a network has no bins to which it could apply the limit. A share of the noisy waveform does the same.
            min_gain = minimum_gain(network.attenuation_limit_db if limit_db is None else limit_db)
            if min_gain > 0:
                enhanced = min_gain * noisy + (1 - min_gain) * enhanced
            gains = _measure_gains(noisy, enhanced)
        if probe is not None and features is not None and self.representation is not None:
            counts = [noisy.shape[1]] * len(noisy) if lengths is None else lengths.tolist()
            frames = torch.tensor([self.representation.frames(count) for count in counts], device=noisy.device)
            share = probe.enhanced_share(probe.entropy(features), frames, network.hop)
            at = torch.arange(noisy.shape[1], device=noisy.device)
            enhanced = torch.lerp(noisy, enhanced, between_frames(share, at, network.hop))
            at = HOP * torch.arange(gains.shape[1], device=noisy.device)
            gains = torch.lerp(torch.ones_like(gains), gains, between_frames(share, at, network.hop)[..., None])
        return enhanced[:, :samples] if valid is None else enhanced[:, :samples] * valid, gains

    def check_purpose(self, purpose: Purpose) -> None:
        """ConfigError if the model lacks what a purpose needs."""
        if purpose == "recognition" and self.phone_probe is None and self.recognition_network is None:
            raise ConfigError(
                f"{self.name} has neither a network for recognition, which enhance.purpose=recognition trains, nor a "
                "phone probe to tell where a recogniser needs the enhanced sound, which comes with a linguistic "
                "aggregation: mix some of the noise back (--mix 0.8)"
            )

    def enhance(
        self,
        waveform: Waveform,
        sample_rate: int,
        *,
        purpose: Purpose = "listening",
        mix: float = 1.0,
        attenuation_limit_db: float | None = None,
        upper_band: UpperBand = "attenuate",
        chunk_s: float = CHUNK_S,
    ) -> Waveform:
        """Enhance one recording of any length, as a file of it would be enhanced.

        docs/enhance-rules.md says what happens to level, silence, odd input and the band above 8 kHz.

        Args:
            waveform: numpy or torch, [sample] or [channel, sample]; floats, full scale 1. Channels are enhanced apart.
            sample_rate: in Hz, 4000 to 768 000.
            purpose: "listening", or "recognition", which costs a recogniser fewer words: by a network that leaves some
                of the noise or, in a model without one, by leaving the recording as it is where its phones can be told
                (`enhancers.purpose`).
            mix: share of the enhanced signal, 0 to 1; the rest is the noisy one.
            attenuation_limit_db: the most taken off any frequency; None: as the model has it; infinite: no limit.
            upper_band: whether to scale the band above 8 kHz with the gain just below it, to remove it, or to keep it.
            chunk_s: longest piece that is enhanced at once, in seconds; infinite: the whole recording.

        Returns:
            A new array or tensor of the same type, shape and rate. Digital silence stays digital silence.

        Raises:
            AudioError: for integers, another number of dimensions, [sample, channel], samples that are not finite, or
                an impossible rate.
            ConfigError: for options out of their range, or a purpose that the model does not serve.
        """
        enhanced = enhance_in_chunks(
            self,
            to_channels(waveform, sample_rate),
            sample_rate,
            chunk_s,
            purpose=purpose,
            mix=mix,
            attenuation_limit_db=attenuation_limit_db,
            upper_band=upper_band,
        )
        warn(enhanced.condition.texts())
        return cast(Waveform, from_channels(enhanced.waveform, waveform))

    def enhance_batch(self, waveforms: Sequence[Waveform], sample_rate: int, **options: Any) -> list[Waveform]:
        """Enhance recordings of one rate together; results, options and errors are those of `enhance`, to rounding.

        Each is enhanced at once. Memory is that of the longest recording times their number: recordings of similar
        length go together best.
        """
        chunks = self.enhance_chunks(waveforms, sample_rate, **options)
        for chunk in chunks:
            warn(chunk.condition.texts())
        return [cast(Waveform, chunk.waveform) for chunk in chunks]

    def enhance_chunks(self, chunks: Sequence[Any], sample_rate: int, **options: Any) -> list[EnhancedChunk]:
        """`enhance_batch` of recordings or chunks of some, with what was noticed about each instead of warnings."""
        wanted = EnhanceOptions(**options)
        round_trips = _round_trips(chunks, sample_rate)

        # Each channel that is not silent is one row of the network's batches.
        rows = [torch.from_numpy(row) for round_trip in round_trips for row in round_trip.inputs]
        enhanced_rows: list[tuple[np.ndarray, np.ndarray]] = []  # [sample or more], top gain [frame or more]
        rows_per_pass = max(len(round_trips), MAX_CHANNELS_PER_PASS)
        device = next(self.parameters()).device
        # Inference mode ends before the results are made: tensors made in it cannot be changed by the caller.
        with torch.inference_mode():
            for start in range(0, len(rows), rows_per_pass):
                pass_rows = rows[start : start + rows_per_pass]
                lengths = torch.tensor([len(row) for row in pass_rows])
                has_one_length = bool((lengths == lengths[0]).all())
                batch = nn.utils.rnn.pad_sequence(pass_rows, batch_first=True).to(device)
                enhanced, gains = self.with_gains(
                    batch,
                    None if has_one_length else lengths.to(device),
                    wanted.attenuation_limit_db,
                    wanted.purpose,
                )
                top_gains = gains[..., TOP_BINS].mean(-1).float().cpu().numpy()
                enhanced_rows += zip(enhanced.float().cpu().numpy(), top_gains, strict=True)

        # Give every recording its rows back. Rows of one recording may come from two passes that were padded to
        # different lengths, so they are cut to what they have in common.
        results = []
        remaining_rows = iter(enhanced_rows)
        for round_trip in round_trips:
            inputs, condition = round_trip.inputs, Condition()
            outputs = top_gain = inputs  # right for a recording without audible channels: no rows
            if len(inputs):
                outputs_of_rows, gains_of_rows = zip(*islice(remaining_rows, len(inputs)), strict=True)
                outputs = np.stack([row[: inputs.shape[1]] for row in outputs_of_rows])
                frames = min(map(len, gains_of_rows))
                top_gain = np.stack([gain[:frames] for gain in gains_of_rows])
                mixes_back = wanted.purpose == "recognition" and self.phone_probe is not None
                condition = examine(round_trip.audible, inputs, outputs, sample_rate, mixes_back)
            results.append(EnhancedChunk(round_trip.restore(outputs, top_gain, wanted), condition))
        return results

    def enhance_file(
        self, source: str | Path, target: str | Path, *, progress: Progress | None = None, **options: Any
    ) -> list[str]:
        """Enhance a sound file of any length, as `phonemi enhance` does, without taking more memory for a longer one.

        Args:
            source: any sound file.
            target: the file to write. Its extension decides the format.
            progress: shows the seconds of sound that are done; None: no display.
            options: `batch_size`, `chunk_s`, `overlap_s`, and the options of `enhance`.

        Returns:
            What a listener should know of the recording, one sentence each: it is clipped, narrow-band, clean already.

        Raises:
            AudioError: naming the file and what is wrong with it. The target is then not written.
        """
        self.check_purpose(options.get("purpose", "listening"))
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
        """Enhance every recording in a folder, its subfolders and tar files; returns what became of each, and why.

        Outputs that this model has made already with these options, and that are no older than their source, are
        skipped. A file of the name of an output that phonemi did not make is a failure of that recording, and stays. A
        recording that fails does not stop the others.

        Args:
            folder: where the recordings are.
            output: folder for the enhanced recordings, with the same subfolders; created if absent.
            suffix: added to the name of every output, before its extension.
            extension: of every output, such as "flac"; None: that of its source.
            progress, options: as for `enhance_file`, and `overwrite`.

        Raises:
            AudioError: if there is nothing to enhance, or an input would be overwritten.
        """
        self.check_purpose(options.get("purpose", "listening"))
        start_s = time.perf_counter()
        pairs = plan([Path(folder)], Path(output), suffix, extension, shards=True)
        outcomes = list(enhance_corpus(self, pairs, progress, extension=extension, **options))
        return Summary(outcomes, time.perf_counter() - start_s)

    def save_pretrained(
        self,
        folder: str | Path,
        facts: dict[str, Any] | None = None,
        half: bool = False,
        shipped_encoder: str | None = None,
    ) -> None:
        """Write the model to a folder: config.json, model.safetensors, README.md (its card) and the encoder.

        The folder may be moved, and works with later versions of phonemi. An encoder of the hub is referred to by its
        name, its commit and what it makes of a test tone, unless it was trained. Any other encoder is copied, even
        one of ours, because a later release may ship different weights under the same name. Only models inside the
        package refer to an encoder of the package, by its name. `from_pretrained` checks these, and the hashes of the
        files.

        Args:
            folder: created if absent.
            facts: what else to record and to say in the card: data, metrics, licence; None: the attribute `facts`.
            half: store parameters in half precision; they are float32 again when loaded.
            shipped_encoder: name of the encoder of the package that this one is, to refer to it instead of copying it.

        Raises:
            ModelError: if no encoder of that name ships, or it is another one.
        """
        pretrained.save(self, Path(folder), self.facts if facts is None else facts, half, shipped_encoder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | bool | None = None,
        commit_message: str = "Upload an enhancer of phonemi",
        revision: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub, in one commit; returns the address of the page.

        Args:
            repo_id: "account/model", created if absent. `from_pretrained` takes the same.
            private: whether a newly created repository is visible to its account only.
            token: with the right to write; None: the one of `hf auth login` or HF_TOKEN.
            commit_message: first line of the commit.
            revision: branch, created if absent; None: main.

        Raises:
            ModelError: if the hub cannot be reached or refuses; the message says what to do.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, self.facts | {"load": repo_id})
            return push(Path(folder), repo_id, private, token, commit_message, revision)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        encoder: str | Path | None = None,
    ) -> Enhancer:
        """Load an enhancer.

        Args:
            name: "default" (it comes with the package), a folder written by `save_pretrained`, or a hub id. A model of
                the hub that was loaded once can be loaded again without a network.
            revision: branch, tag or commit on the hub.
            token: of the hub; None: the one of `hf auth login` or HF_TOKEN, if there is one.
            encoder: folder of the encoder, if it is one of the hub; None: it comes from there, or from its cache.

        Raises:
            ModelError: if there is no such model, or its files are missing, damaged or do not fit each other.
        """
        return pretrained.load(cls, name, revision, token, encoder)


def _round_trips(waveforms: Sequence[Any], sample_rate: int) -> list[RoundTrip]:
    """A round trip for each waveform; an error names the waveform if there are several."""
    round_trips = []
    for index, waveform in enumerate(waveforms):
        try:
            round_trips.append(RoundTrip(waveform, sample_rate))
        except PhonemiError as error:
            if len(waveforms) == 1:
                raise
            raise type(error)(f"recording {index} of the batch: {error}") from None
    return round_trips


def _measure_gains(noisy: Tensor, enhanced: Tensor) -> Tensor:
    """Ratio of the enhanced to the noisy magnitude, at most 1: [batch, sample] twice -> [batch, frame, 257]."""
    noisy_magnitude, enhanced_magnitude = (signal.magnitude(signal.stft(waveform)) for waveform in (noisy, enhanced))
    return (enhanced_magnitude / noisy_magnitude.clamp_min(1e-10)).clamp_max(1)

"""What is trained: a network, those parts before it that cannot be computed beforehand, and the loss of a batch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from phonemi.aggregations import Aggregation
from phonemi.enhancers.base import EnhancerNetwork
from phonemi.information.phones_kept import PhoneJudge
from phonemi.inversion.networks import InverterNetwork
from phonemi.metrics.si_sdr import target_and_error_energy
from phonemi.representations.base import Representation
from phonemi.representations.feature_normalisation import FeatureNormalisation
from phonemi.stages.training_batches import Batch


class InversionPart(nn.Module):
    """What recovers articulation from the hidden states.

    Args:
        aggregation: of the layers, of its own.
        network: estimates normalised tracks.
        weight: of its loss, beside that of the enhancer.
        hears_clean: whether it learns from the clean speech.
    """

    def __init__(
        self, aggregation: Aggregation, network: InverterNetwork, weight: float = 1.0, hears_clean: bool = False
    ) -> None:
        super().__init__()
        self.aggregation, self.network, self.weight, self.hears_clean = aggregation, network, weight, hears_clean


class TrainingModel(nn.Module):
    """The network and those parts before it that cannot be computed beforehand, with the loss.

    Args:
        network: makes the enhanced waveform; None where articulation alone is recovered.
        aggregation: None where the inputs are aggregated already.
        representation: an encoder that learns, or hears other mixtures in every epoch; None where states are stored.
        si_sdr_weight: subtract this times the SI-SDR in dB of the enhanced waveform from the loss of the network.
        artefact_weight: factor of the artefacts among the errors of that SI-SDR.
        kept_noise_db: how far below the noise of the recording the target keeps it; None: the target is clean.
        phone_judge: says how many nats of the phones the enhanced speech has lost.
        phone_weight: add this times those to the loss.
        is_paired: whether normalised features get the statistics of the clean recording in training.
        inversion: recovers articulation, if anything does.
    """

    def __init__(
        self,
        network: EnhancerNetwork | None,
        aggregation: Aggregation | None = None,
        representation: Representation | None = None,
        si_sdr_weight: float = 0.0,
        artefact_weight: float = 1.0,
        kept_noise_db: float | None = None,
        phone_judge: PhoneJudge | None = None,
        phone_weight: float = 0.0,
        is_paired: bool = False,
        inversion: InversionPart | None = None,
    ) -> None:
        super().__init__()
        self._kept = 0.0 if kept_noise_db is None else 10 ** (-kept_noise_db / 20)
        # In the order of the data: the norm of the gradient is summed in the order of the parameters.
        self.representation, self.aggregation, self.network = representation, aggregation, network
        self.inversion = inversion
        self._si_sdr_weight, self._artefact_weight, self._phone_weight = si_sdr_weight, artefact_weight, phone_weight
        self._is_paired = is_paired and isinstance(representation, FeatureNormalisation)
        self._phone_judge = phone_judge  # no module: neither learned nor saved here

    def forward(self, batch: Batch) -> Tensor:
        """Loss of a batch, []."""
        lengths = torch.tensor(batch.lengths)
        if self.inversion is not None:
            return self._loss_with_inversion(batch, lengths, self.inversion)
        with self._reference(batch.clean, lengths):
            features = self.features(batch.noisy, batch.lengths, batch.inputs)
        return self._enhancement_loss(batch, lengths, features)

    def _loss_with_inversion(self, batch: Batch, lengths: Tensor, inversion: InversionPart) -> Tensor:
        waveforms = batch.clean if inversion.hears_clean else batch.noisy
        with self._reference(batch.clean, lengths):
            states = self.states(waveforms, batch.lengths, batch.inputs)
        assert states is not None
        assert batch.tracks is not None
        loss = inversion.weight * inversion.network.loss(inversion.aggregation(states), batch.tracks, lengths)
        if self.network is None:
            return loss
        assert self.aggregation is not None
        return loss + self._enhancement_loss(batch, lengths, self.aggregation(states))

    def _enhancement_loss(self, batch: Batch, lengths: Tensor, features: Tensor | None) -> Tensor:
        assert self.network is not None
        target = batch.clean + self._kept * (batch.noisy - batch.clean) if self._kept else batch.clean

        def waveform_loss(enhanced: Tensor) -> Tensor:
            loss = enhanced.new_zeros(())
            if self._si_sdr_weight:
                noise = batch.noisy - batch.clean if self._artefact_weight > 1 else None
                ratio_db = si_sdr_db(enhanced, target, noise, self._artefact_weight)
                loss = loss - self._si_sdr_weight * ratio_db.mean()
            if self._phone_judge is not None:
                loss = loss + self._phone_weight * self._phone_judge.phones_lost(enhanced, batch.clean, lengths)
            return loss

        is_wanted = self._si_sdr_weight or self._phone_judge is not None
        return self.network.loss(batch.noisy, target, features, lengths, waveform_loss if is_wanted else None)

    def _reference(self, clean: Tensor, lengths: Tensor) -> AbstractContextManager[None]:
        """Where normalised features have their statistics from."""
        if self._is_paired and self.training and isinstance(self.representation, FeatureNormalisation):
            return self.representation.paired_with(clean, lengths)
        return nullcontext()

    def features(self, noisy: Tensor, lengths: list[int], inputs: Tensor | None) -> Tensor | None:
        """What the network is conditioned on, [batch, frame, dim]; None for the spectrum alone.

        `inputs` are stored hidden states [layer, batch, frame, dim] or features [batch, frame, dim], if any.
        """
        states = self.states(noisy, lengths, inputs)
        return states if states is None or self.aggregation is None else self.aggregation(states)

    def states(self, waveforms: Tensor, lengths: list[int], inputs: Tensor | None) -> Tensor | None:
        """Hidden states [layer, batch, frame, dim] of waveforms, or `inputs`, what is stored of them."""
        if self.representation is not None:
            inputs = self.representation(waveforms, torch.tensor(lengths)).states
        return None if inputs is None else inputs.float()


def si_sdr_db(estimate: Tensor, clean: Tensor, noise: Tensor | None = None, artefact_weight: float = 1.0) -> Tensor:
    """SI-SDR of waveforms, [batch, sample] -> [batch], in dB; 0 where the clean speech is silent, at most 60.

    With the `noise` of the recording, [batch, sample], the error has two parts: noise that is left, its projection on
    the part of `noise` that is orthogonal to `clean`, and artefacts, the rest, which are multiplied by
    `artefact_weight`. This is the artefact-boosted SDR of Ochiai et al. 2024 (arXiv 2404.14860) with a factor for
    speech and noise where they have a filter.
    """
    estimate, clean = estimate.float(), clean.float()
    target, error = target_and_error_energy(estimate, clean)
    if noise is not None:
        energy = clean.square().sum(1, keepdim=True).clip(min=1e-10)
        noise = noise.float() - (noise.float() * clean).sum(1, keepdim=True) / energy * clean
        left = (estimate * noise).sum(1).square() / noise.square().sum(1).clip(min=1e-10)
        error = left + artefact_weight**2 * (error - left).clip(min=0)
    # A millionth of the target's energy is added to that of the error, which bounds the gradient of perfect items.
    ratio = (target + 1e-10) / (error + 1e-6 * target + 1e-10)
    is_speech = clean.square().sum(1) > 0
    return torch.where(is_speech, 10 * ratio.log10(), torch.zeros_like(ratio))

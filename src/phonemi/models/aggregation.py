"""Hidden states of all layers `[layer, batch, frame, dim]` -> one sequence `[batch, frame, dim]`, and the weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.files import read_json, replacing, write_json
from phonemi.signal import valid_mask

Tuning = Literal["acoustic", "linguistic", "hybrid"]
TUNINGS: tuple[str, ...] = ("acoustic", "linguistic", "hybrid")


class Aggregation(nn.Module, ABC):
    """What every aggregation offers: a weighting of the layers, the same sum of layers, and what of it may be trained.

    Args:
        layers: number of hidden states of the encoder, 13 for a Base model (the front-end is layer 0).
        dim: features per frame; None where any number will do.
        normalise_layers: pass each layer through a LayerNorm without parameters first. Base models have normalised
            layers already; the Large ones, whose layers differ in scale by orders of magnitude, need it.
    """

    kind = ""

    def __init__(self, layers: int, dim: int | None = None, *, normalise_layers: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"an aggregation needs at least 1 layer, got {layers}")
        self.layers = layers
        self.dim = dim
        self.normalise_layers = normalise_layers

    def forward(self, states: Tensor) -> Tensor:
        """Sum the layers with their weights.

        Args:
            states: `[layer, batch, frame, dim]`.

        Returns:
            `[batch, frame, dim]`, in the precision of `states`.

        Raises:
            ModelError: if `states` has another number of layers or features than this aggregation was made for.
        """
        states = self._prepare(states)
        # Half precision costs the weights more than it saves time here, so mixed precision stops at this door.
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states).to(states.dtype)
            if weights.dim() == 1:
                return (weights @ states.flatten(1)).view(states.shape[1:])
            return torch.einsum("btl,lbtd->btd", weights, states)

    def weights(self, states: Tensor) -> Tensor:
        """Weight of each layer in each frame: `[batch, frame, layer]`, float32, at least 0, adding up to 1."""
        states = self._prepare(states)
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states)
        return weights.expand(*states.shape[1:3], self.layers)

    def mean_weights(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Weights averaged over all frames, `[layer]`; with `lengths` `[batch]` only over frames before the padding."""
        weights = self.weights(states)
        if lengths is None:
            return weights.mean((0, 1))
        return weights[valid_mask(lengths.to(weights.device), weights.shape[1])].mean(0)

    def tune(self, mode: Tuning) -> Self:
        """Choose what training may change: sets `requires_grad` and returns self.

        "acoustic": everything, as a new aggregation is. (Pre-training on phones starts from here too.)
        "linguistic": nothing; the aggregation stays what pre-training made it.
        "hybrid": only the logit (WeightedSum) or bias (DynamicWeightedSum) of layer 0, the front-end.

        Raises:
            ConfigError: for any other word.
        """
        if mode not in TUNINGS:
            raise ConfigError(f"unknown tuning {mode!r}: {nearest(mode, TUNINGS)}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(mode == "acoustic" or (mode == "hybrid" and name.startswith("front_")))
        return self

    @property
    def is_frozen(self) -> bool:
        """True if no parameter may change, as after `tune("linguistic")`."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def settings(self) -> dict[str, Any]:
        """What `build_aggregation` needs to make this module again, as JSON; the weights are apart."""
        return {"kind": self.kind, "layers": self.layers, "normalise_layers": self.normalise_layers}

    def check_fits(self, layers: int | None, dim: int | None = None) -> None:
        """Compare with the encoder that is to feed this aggregation; None is not compared.

        Raises:
            ModelError: naming both numbers, if they differ.
        """
        for what, own, encoder in (("layers", self.layers, layers), ("features per frame", self.dim, dim)):
            if None not in (own, encoder) and own != encoder:
                raise ModelError(
                    f"the aggregation was made for {own} {what}, the encoder has {encoder}: "
                    f"use the encoder it was trained with, or train an aggregation for this one"
                )

    def _prepare(self, states: Tensor) -> Tensor:
        if states.dim() != 4:
            raise ModelError(f"expected hidden states [layer, batch, frame, dim], got shape {list(states.shape)}")
        self.check_fits(states.shape[0], states.shape[3])
        return F.layer_norm(states.float(), states.shape[3:]) if self.normalise_layers else states

    @abstractmethod
    def _layer_weights(self, states: Tensor) -> Tensor:
        """`[layer]` if the same for every frame, else `[batch, frame, layer]`; float32."""


class SingleLayer(Aggregation):
    """One layer as it is: the "layer 11" rows of Table 1. No parameters, so every tuning leaves it frozen.

    >>> SingleLayer(3, 1)(torch.arange(3.0).view(3, 1, 1, 1)).item()
    1.0
    """

    kind = "single_layer"

    def __init__(self, layers: int, layer: int, *, normalise_layers: bool = False) -> None:
        super().__init__(layers, normalise_layers=normalise_layers)
        if not 0 <= layer < layers:
            raise ConfigError(f"layer {layer} asked for, the encoder has {layers}: 0 (the front-end) to {layers - 1}")
        self.layer = layer

    def forward(self, states: Tensor) -> Tensor:
        """Layer `layer` of `states`: `[batch, frame, dim]`."""
        return self._prepare(states)[self.layer]

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"layer": self.layer}

    def _layer_weights(self, states: Tensor) -> Tensor:
        return F.one_hot(torch.tensor(self.layer, device=states.device), self.layers).float()


class WeightedSum(Aggregation):
    """One weight a layer, the same for all frames: eq. (2), with the softmax over logits of S3PRL's Featurizer.

    Logits begin at 0, so that all layers weigh 1 / layers. The logit of layer 0 is a parameter of its own: hybrid
    tuning then hands the optimiser exactly what may move, and neither momentum nor weight decay reaches the rest.

    >>> WeightedSum(4).weights(torch.zeros(4, 1, 1, 8))
    tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]], grad_fn=<ExpandBackward0>)
    """

    kind = "weighted_sum"
    log_partition: Tensor

    def __init__(self, layers: int, *, normalise_layers: bool = False, renormalise: bool = True) -> None:
        super().__init__(layers, normalise_layers=normalise_layers)
        self.renormalise = renormalise
        self.front_logit = nn.Parameter(torch.zeros(1))
        self.block_logits = nn.Parameter(torch.zeros(layers - 1))
        self.register_buffer("log_partition", torch.tensor(math.log(layers)))

    def tune(self, mode: Tuning, *, renormalise: bool = True) -> Self:
        """As for every aggregation; `renormalise=False` holds the weights of layers 1 and up still in hybrid tuning.

        Hybrid tuning can be read in two ways. Renormalised (default): the softmax goes over all layers, the other
        weights shrink or grow together and all still add up to 1. Not renormalised: the weight of layer 0 is a free
        positive number beside the others' fixed ones, and their sum is no longer 1.
        """
        super().tune(mode)
        if mode == "hybrid" and not renormalise and self.renormalise:
            self.renormalise = False
            self.log_partition.copy_(self.logits().detach().logsumexp(0))
        return self

    def logits(self) -> Tensor:
        """Logits of all layers, `[layer]`."""
        return torch.cat((self.front_logit, self.block_logits))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"renormalise": self.renormalise}

    def _layer_weights(self, states: Tensor) -> Tensor:
        logits = self.logits().float()
        return logits.softmax(0) if self.renormalise else (logits - self.log_partition).exp()


class DynamicWeightedSum(Aggregation):
    """Weights that change from frame to frame, by attention over the layers of one frame: eq. (3).

    For the layers H `[layer, dim]` of a frame, Q = H Wq and K = H Wk, the paper writes
    mean over i of (softmax(Q K^T / sqrt(dim) + b) H)_i. The mean may be taken first: with A the softmax,
    alpha_j = mean over i of A_ij and the result is sum over j of alpha_j H_j, a weighted sum again, and A H is never
    formed. Nor are Q and K: Q K^T = H (Wq Wk^T) H^T costs one product over the frames instead of two.
    b is added along the keys (along the queries it would cancel in the softmax) and split as in `WeightedSum`.

    Parameters: 2 dim^2 + layers, 1 179 661 for 13 x 768; `projection_bias` adds 2 dim. With a `projection_dim`, queries
    and keys have that size, and scores are divided by its root.
    """

    kind = "dynamic_weighted_sum"

    def __init__(
        self,
        layers: int,
        dim: int,
        *,
        normalise_layers: bool = False,
        projection_bias: bool = False,
        projection_dim: int | None = None,
    ) -> None:
        super().__init__(layers, dim, normalise_layers=normalise_layers)
        self.query = nn.Linear(dim, projection_dim or dim, bias=projection_bias)
        self.key = nn.Linear(dim, projection_dim or dim, bias=projection_bias)
        self.front_bias = nn.Parameter(torch.zeros(1))
        self.block_bias = nn.Parameter(torch.zeros(layers - 1))
        for projection in (self.query, self.key):
            nn.init.xavier_uniform_(projection.weight)
            if projection_bias:
                nn.init.zeros_(projection.bias)

    def settings(self) -> dict[str, Any]:
        projections = {"projection_bias": self.query.bias is not None, "projection_dim": self.query.out_features}
        return super().settings() | {"dim": self.dim, **projections}

    def _layer_weights(self, states: Tensor) -> Tensor:
        # Some channels of Base models are large, and so are scores: float32 throughout.
        states = states.float()
        if self.query.bias is None:
            queries, keys = F.linear(states, self.key.weight.T @ self.query.weight), states
        else:
            queries, keys = self.query(states), self.key(states)
        scores = torch.einsum("ibtd,jbtd->btij", queries, keys) / math.sqrt(self.query.out_features)
        bias = torch.cat((self.front_bias, self.block_bias))
        return (scores + bias).softmax(-1).mean(-2)


KINDS: dict[str, type[Aggregation]] = {kind.kind: kind for kind in (SingleLayer, WeightedSum, DynamicWeightedSum)}


def build_aggregation(settings: dict[str, Any]) -> Aggregation:
    """Make the aggregation that `settings()` described, with untrained weights.

    >>> build_aggregation({"kind": "weighted_sum", "layers": 13}).layers
    13

    Raises:
        ConfigError: for an unknown kind, or settings that the kind does not take.
    """
    settings = dict(settings)
    kind = settings.pop("kind", None)
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of aggregation {kind!r}: {nearest(str(kind), KINDS)}")
    try:
        return KINDS[kind](**settings)
    except TypeError as error:
        raise ConfigError(f"settings of aggregation {kind}: {error}") from None


def save_aggregation(aggregation: Aggregation, folder: str | Path) -> None:
    """Write `aggregation.safetensors` and `aggregation.json` into `folder`, each complete or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in aggregation.state_dict().items()}
    with replacing(Path(folder) / "aggregation.safetensors") as temporary:
        save_file(tensors, temporary)
    write_json(Path(folder) / "aggregation.json", aggregation.settings())


def load_aggregation(folder: str | Path, *, layers: int | None = None, dim: int | None = None) -> Aggregation:
    """Read what `save_aggregation` wrote; every parameter may be trained, until `tune` says otherwise.

    Args:
        folder: holds `aggregation.safetensors` and `aggregation.json`.
        layers: hidden states of the encoder it is for; None is not compared.
        dim: features per frame of that encoder; None is not compared.

    Raises:
        ModelError: if files are missing, do not belong together, or were made for another number of layers or features.
    """
    folder = Path(folder)
    for name in ("aggregation.json", "aggregation.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no aggregation ({name} is missing): train one with `phonemi aggregate`")
    aggregation = build_aggregation(read_json(folder / "aggregation.json"))
    try:
        aggregation.check_fits(layers, dim)
        aggregation.load_state_dict(load_file(folder / "aggregation.safetensors"))
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder}: aggregation.safetensors does not fit aggregation.json ({reason})") from None
    return aggregation

"""Aggregations: hidden states [layer, batch, frame, dim] become one sequence, a weighted sum of the layers.

Each kind says which weights training may change. It is built from its settings, saved to a folder and loaded again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.constants import TUNINGS, Tuning
from phonemi.errors import ConfigError, ModelError, nearest
from phonemi.files import read_json, write_json
from phonemi.signal import valid_mask
from phonemi.weights.tensors import load_weights, save_weights


class Aggregation(nn.Module, ABC):
    """A weighted sum of the layers of an encoder, with weights that may differ from frame to frame.

    Weights are not negative, and add up to 1 (with one exception, see `WeightedSum.tune`).

    Args:
        layers: number of hidden states of the encoder, 13 for a Base model (layer 0 is the front-end).
        dim: features per frame; None if any number will do.
        normalise_layers: pass each layer through a LayerNorm without parameters first. The layers of Base models are
            normalised already; those of Large models differ in scale by orders of magnitude and need it.
    """

    kind: ClassVar[str]  # what `settings()` and `AGGREGATIONS` call this class
    front_parameters: ClassVar[tuple[str, ...]] = ()  # names of those that weigh layer 0, and nothing else
    __call__: Callable[..., Tensor]

    def __init__(self, layers: int, dim: int | None = None, *, normalise_layers: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"an aggregation needs at least 1 layer, got {layers}")
        self.layers = layers
        self.dim = dim
        self.normalise_layers = normalise_layers

    def forward(self, states: Tensor) -> Tensor:
        """Sum the layers, `[layer, batch, frame, dim]` -> `[batch, frame, dim]`, in the precision of `states`.

        Raises:
            ModelError: if `states` has another number of layers or features than this aggregation was made for.
        """
        states = self._prepare(states)
        # Not under autocast: in half precision the weights lose more than the time it saves here is worth.
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states).to(states.dtype)
            if weights.dim() == 1:
                return (weights @ states.flatten(1)).view(states.shape[1:])
            return torch.einsum("btl,lbtd->btd", weights, states)

    def weights(self, states: Tensor) -> Tensor:
        """Compute the weight of each layer in each frame, `[batch, frame, layer]`, float32."""
        states = self._prepare(states)
        with torch.autocast(states.device.type, enabled=False):
            weights = self._layer_weights(states)
        return weights.expand(*states.shape[1:3], self.layers)

    def mean_weights(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Average the weights over all frames, or the first `lengths` of each item, `[layer]`."""
        weights = self.weights(states)
        if lengths is None:
            return weights.mean((0, 1))
        return weights[valid_mask(lengths.to(weights.device), weights.shape[1])].mean(0)

    def tune(self, mode: Tuning) -> Self:
        """Choose what training may change (Han et al. 2026): sets `requires_grad` and returns self.

        "acoustic": everything. A new aggregation is like this, and pre-training on phones starts from it too.
        "linguistic": nothing; the aggregation stays what pre-training made it.
        "hybrid": only what weighs layer 0, the front-end.

        Raises:
            ConfigError: for any other word.
        """
        if mode not in TUNINGS:
            raise ConfigError(f"unknown tuning {mode!r}: {nearest(mode, TUNINGS)}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(mode == "acoustic" or (mode == "hybrid" and name in self.front_parameters))
        return self

    @property
    def is_frozen(self) -> bool:
        """True if training may change no parameter, as after `tune("linguistic")`."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def settings(self) -> dict[str, Any]:
        """JSON-able settings from which `build_aggregation` builds it anew, without its weights."""
        return {"kind": self.kind, "layers": self.layers, "normalise_layers": self.normalise_layers}

    def check_fits(self, layers: int | None, dim: int | None = None) -> None:
        """Raise ModelError unless the hidden states of an encoder fit; None is not compared."""
        for quantity, ours, encoder in (("layers", self.layers, layers), ("features per frame", self.dim, dim)):
            if None not in (ours, encoder) and ours != encoder:
                raise ModelError(
                    f"the aggregation was made for {ours} {quantity}, the encoder has {encoder}: "
                    f"use the encoder it was trained with, or train an aggregation for this one"
                )

    def _prepare(self, states: Tensor) -> Tensor:
        if states.dim() != 4:
            raise ModelError(f"expected hidden states [layer, batch, frame, dim], got shape {list(states.shape)}")
        self.check_fits(states.shape[0], states.shape[3])
        return functional.layer_norm(states.float(), (int(states.shape[3]),)) if self.normalise_layers else states

    @abstractmethod
    def _layer_weights(self, states: Tensor) -> Tensor:
        """Float32 weights: `[layer]` if they are the same for every frame, else `[batch, frame, layer]`."""


class SingleLayer(Aggregation):
    """One layer as it is: the "layer 11" rows of Han et al. (2026), Table 1. It has no parameters to train.

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
        """Return layer `layer` of `states`, `[batch, frame, dim]`."""
        return self._prepare(states)[self.layer]

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"layer": self.layer}

    def _layer_weights(self, states: Tensor) -> Tensor:
        return functional.one_hot(torch.tensor(self.layer, device=states.device), self.layers).float()


class WeightedSum(Aggregation):
    """A weight per layer that does not depend on the frame.

    Equation (2), with h_i the hidden states of layer i and logits a_i as in S3PRL's Featurizer:

        sum over i of w_i h_i,    w = softmax(a)

    The logits start at 0, so that every layer weighs 1 / layers. The logit of layer 0 is a parameter of its own: in
    hybrid tuning the optimiser then holds it alone, and neither momentum nor weight decay can reach the others.

    Args:
        layers, normalise_layers: see `Aggregation`.
        renormalise: False replaces the softmax by exp(a) over a fixed sum, see `tune`.

    >>> WeightedSum(4).weights(torch.zeros(4, 1, 1, 8))
    tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]], grad_fn=<ExpandBackward0>)
    """

    kind = "weighted_sum"
    front_parameters = ("front_logit",)
    log_partition: Tensor

    def __init__(self, layers: int, *, normalise_layers: bool = False, renormalise: bool = True) -> None:
        super().__init__(layers, normalise_layers=normalise_layers)
        self.renormalise = renormalise
        self.front_logit = nn.Parameter(torch.zeros(1))
        self.block_logits = nn.Parameter(torch.zeros(layers - 1))
        self.register_buffer("log_partition", torch.tensor(math.log(layers)))

    def tune(self, mode: Tuning, *, renormalise: bool = True) -> Self:
        """Choose what training may change, see `Aggregation.tune`.

        `renormalise` says what happens in hybrid tuning to the weights of layers 1 and up. True: the softmax still goes
        over all layers, so that they grow or shrink together and all weights add up to 1. False: they stay as they are;
        the weight of layer 0 is a free positive number, and the sum is no longer 1.
        """
        super().tune(mode)
        if mode == "hybrid" and not renormalise and self.renormalise:
            # The denominator of the softmax is fixed at its present value, which changes no weight.
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
    """Self-attention over the layers of one frame, averaged over the queries.

    Equation (3), with H [layer, dim] the layers of a frame, Q = H Wq, K = H Wk, V = H and a bias b per layer:

        mean over layers of  softmax(Q K^T / sqrt(dim) + b) V

    It is a weighted sum too: with A the softmax, layer j weighs the mean of column j of A.

    The bias is added along the keys; along the queries it would cancel in the softmax. The bias of layer 0 is a
    parameter of its own, as in `WeightedSum`.

    Args:
        layers, dim, normalise_layers: see `Aggregation`.
        projection_bias: add a bias to queries and keys.
        projection_dim: size of queries and keys, by whose root scores are then divided; None: `dim`.

    There are 2 dim^2 + layers parameters, 1 179 661 for 13 layers of 768; `projection_bias` adds 2 dim.
    """

    kind = "dynamic_weighted_sum"
    front_parameters = ("front_bias",)

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
        # In float32 throughout: some channels of Base models are large, and so are the scores.
        states = states.float()
        if self.query.bias is None:
            # Q K^T = H (Wq Wk^T) H^T: the two weights are multiplied first, which saves one product over all frames.
            queries, keys = functional.linear(states, self.key.weight.T @ self.query.weight), states
        else:
            queries, keys = self.query(states), self.key(states)
        scores = torch.einsum("ibtd,jbtd->btij", queries, keys) / math.sqrt(self.query.out_features)
        bias = torch.cat((self.front_bias, self.block_bias))  # [layer], along the keys j
        # The mean over the queries i is taken before the product with V instead of after it: the same sum, and A V
        # [layer, dim] is never computed.
        return (scores + bias).softmax(-1).mean(-2)


AGGREGATIONS: dict[str, type[Aggregation]] = {
    aggregation.kind: aggregation for aggregation in (SingleLayer, WeightedSum, DynamicWeightedSum)
}


def build_aggregation(settings: dict[str, Any]) -> Aggregation:
    """Build an aggregation with untrained weights from what `Aggregation.settings` returned.

    >>> build_aggregation({"kind": "weighted_sum", "layers": 13}).layers
    13

    Raises:
        ConfigError: for an unknown kind, or settings that the kind does not take.
    """
    arguments = dict(settings)
    kind = arguments.pop("kind", None)
    if kind not in AGGREGATIONS:
        raise ConfigError(f"unknown kind of aggregation {kind!r}: {nearest(str(kind), AGGREGATIONS)}")
    try:
        return AGGREGATIONS[kind](**arguments)
    except TypeError as error:
        raise ConfigError(f"settings of aggregation {kind}: {error}") from None


def save_aggregation(aggregation: Aggregation, folder: str | Path) -> None:
    """Write `aggregation.safetensors` and `aggregation.json` into `folder`, each complete or not at all."""
    save_weights(aggregation, Path(folder) / "aggregation.safetensors")
    write_json(Path(folder) / "aggregation.json", aggregation.settings())


def load_aggregation(folder: str | Path, *, layers: int | None = None, dim: int | None = None) -> Aggregation:
    """Read what `save_aggregation` wrote. All parameters are trainable until `tune` says otherwise.

    Raises:
        ModelError: if files are missing or do not belong together, or it was made for encoders of other `layers` (the
            number of hidden states) or `dim` (features per frame); None is not compared.
    """
    folder = Path(folder)
    for name in ("aggregation.json", "aggregation.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no aggregation ({name} is missing): train one with `phonemi aggregate`")
    aggregation = build_aggregation(read_json(folder / "aggregation.json"))
    try:
        aggregation.check_fits(layers, dim)
        load_weights(aggregation, folder / "aggregation.safetensors")
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    return aggregation

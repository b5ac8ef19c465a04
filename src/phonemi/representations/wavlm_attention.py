"""WavLM's attention in one kernel: frames [batch, frame, dim] -> [batch, frame, dim], weights under the same names."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BIAS_VALUES = 2**24  # gated biases held at a time (64 MiB in float32); beyond, queries go through in blocks


class FusedAttention(nn.Module):
    """Self-attention of WavLM with its gated relative position bias (Chen et al. 2022), without dead work.

    The softmax for query i and key j is over q_i k_j / sqrt(dim / heads) + gate_i d(j - i). `transformers` keeps
    d [batch * head, frame, frame], the gated biases, the scores and their average over heads, all in memory; for more
    than one item in bfloat16 on a CPU it falls to slow products (torch 2.13: 20 times the time of this attention). Here
    d stays a vector over j - i, the gated biases are made for a block of queries at a time, and
    `scaled_dot_product_attention` does the rest. Attention weights are not returned. Dropout is that of the original,
    in training mode only.

    Args:
        attention: a `WavLMAttention`, whose parameters and layers this one takes over, names included: its weights
            load, save, train and move as before.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear
    gru_rel_pos_linear: nn.Linear
    gru_rel_pos_const: nn.Parameter  # [1, head, 1, 1]
    rel_attn_embed: nn.Embedding  # [bucket, head]; in the first layer only

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads, self.dropout = attention.num_heads, attention.dropout
        self.buckets, self.max_distance = attention.num_buckets, attention.max_distance
        for name, parameter in attention.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, layer in attention.named_children():
            self.add_module(name, layer)
        self.train(attention.training)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, position_bias: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None, Tensor]:
        """What an encoder layer of `transformers` calls.

        Args:
            hidden_states: [batch, frame, dim].
            attention_mask: [batch, frame], 1 or True where a frame belongs to its item.
            position_bias: what the first layer returned, which alone has a table of biases; None in that layer.

        Returns:
            Mixed frames [batch, frame, dim]; None in place of attention weights; biases for the layers that follow.
        """
        batch, frames, dim = hidden_states.shape
        biases = self.biases(frames) if position_bias is None else position_bias
        # Keys run backwards in time, so that bias i + j belongs to query i and key j: the matrix is a view of a vector.
        backwards = hidden_states.flip(1)
        query, key, value = (
            layer(states).view(batch, frames, self.heads, -1).transpose(1, 2)
            for layer, states in ((self.q_proj, hidden_states), (self.k_proj, backwards), (self.v_proj, backwards))
        )
        rows = biases.to(query.dtype).unfold(1, frames, 1)  # [head, query, key]
        gates = self.gates(hidden_states).to(query.dtype).contiguous()  # or the products would be laid out by query
        padding = None if attention_mask is None else attention_mask.ne(1).flip(1)[:, None, None]
        step = max(BIAS_VALUES // (batch * self.heads * frames), 1)
        mixed = []
        for start in range(0, frames, step):
            block = slice(start, start + step)
            bias = gates[:, :, block] * rows[:, block]
            if padding is not None:  # a finite value, lest a block of nothing but padding give 0 / 0
                bias = bias.masked_fill(padding, torch.finfo(bias.dtype).min)
            dropout = self.dropout if self.training else 0.0
            mixed.append(functional.scaled_dot_product_attention(query[:, :, block], key, value, bias, dropout))
        joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)
        return self.out_proj(joined.transpose(1, 2).reshape(batch, frames, dim)), None, biases

    def gates(self, hidden_states: Tensor) -> Tensor:
        """How much of the bias each query takes, in (1, 2) where `gru_rel_pos_const` is 1: [batch, head, frame, 1]."""
        batch, frames, _ = hidden_states.shape
        # Each of two values is a sum of four outputs of one layer; the weights are summed instead.
        weight = self.gru_rel_pos_linear.weight.view(2, 4, -1).sum(1)
        bias = self.gru_rel_pos_linear.bias.view(2, 4).sum(1)
        outputs = functional.linear(hidden_states.view(batch, frames, self.heads, -1), weight, bias)
        first, second = outputs.sigmoid().transpose(1, 2).chunk(2, dim=-1)
        return first * (second * self.gru_rel_pos_const - 1) + 2

    def biases(self, frames: int) -> Tensor:
        """Learned bias for every distance from frames - 1 down to 1 - frames, [head, 2 * frames - 1].

        Half of the buckets are for keys ahead of the query. Of each half, one half is for single distances, the other
        for ranges that grow with the logarithm of the distance, the last one without end.
        """
        table = self.rel_attn_embed.weight
        offsets = torch.arange(frames - 1, -frames, -1, device=table.device)  # key - query
        half, single = self.buckets // 2, self.buckets // 4
        distances = offsets.abs()
        # In this order of operations the buckets at the edges are those that the model was trained with.
        growth = torch.log(distances.float() / single) / math.log(self.max_distance / single) * (half - single)
        ranges = (single + growth.clamp_min(0)).long().clamp_max(half - 1)
        buckets = torch.where(distances < single, distances, ranges) + half * (offsets > 0)
        return self.rel_attn_embed(buckets).T


def fuse_attention(model: Any) -> None:
    """Give a model of `transformers` fused attention, in place: the same hidden states from less time and memory.

    WavLM gets `FusedAttention`; HuBERT and wav2vec2 get the `sdpa` implementation of `transformers` where they run its
    plain one (`eager`). Once is enough, twice does no harm.
    """
    if model.config.model_type == "wavlm":
        for layer in model.encoder.layers:
            if not isinstance(layer.attention, FusedAttention):
                layer.attention = FusedAttention(layer.attention)
    elif getattr(model.config, "_attn_implementation", None) == "eager" and hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("sdpa")

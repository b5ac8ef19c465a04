"""A faster attention for WavLM: the results and the weights of `transformers`, less time and memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.signal import is_tracing

MAX_BIASES = 2**24  # gated biases held at a time (64 MiB in float32); queries beyond that go through in blocks


class FusedAttention(nn.Module):
    """Self-attention of WavLM with its gated relative position bias (Chen et al. 2022).

    For query i and key j the attention weight is

        softmax over j of  q_i . k_j / sqrt(dim / heads) + gate_i d(j - i)

    `transformers` holds d as [batch * head, frame, frame], the gated biases, the scores and their average over heads in
    memory, and for more than one item in bfloat16 on a CPU it falls back to slow products (with torch 2.13, 20 times
    the time of this attention). Here d stays a vector over j - i, the gated biases exist for one block of queries at a
    time, and `scaled_dot_product_attention` does the rest. Gradients and dropout are those of the original.

    The parameters and layers of `attention`, a `WavLMAttention`, keep their names: weights load and save as before.
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
        """Attend, [batch, frame, dim]; the mask [batch, frame] is 1 or True where a frame belongs to its item.

        Called by the encoder layers of `transformers`. The first layer has the table of biases and gets None for them;
        it returns them, after None in place of attention weights, and the other layers get what it returned.
        """
        batch, frames, dim = hidden_states.shape
        biases = self.biases(frames) if position_bias is None else position_bias
        # Keys and values run backwards in time. The bias of query i and key j is then number i + j of the vector, so
        # that the whole matrix is a view of it, made by `unfold`.
        backwards = hidden_states.flip(1)
        query, key, value = (
            layer(states).view(batch, frames, self.heads, -1).transpose(1, 2)
            for layer, states in ((self.q_proj, hidden_states), (self.k_proj, backwards), (self.v_proj, backwards))
        )
        step = frames
        if is_tracing():  # the same matrix by its indices, because ONNX cannot unfold by a size that varies
            positions = torch.arange(frames, device=biases.device)
            rows = biases[:, positions[:, None] + positions]
        else:
            rows = biases.to(query.dtype).unfold(1, frames, 1)  # [head, query, key]
            step = max(MAX_BIASES // (batch * self.heads * frames), 1)
        # Contiguous, or the products below would inherit the order of the gates in memory, which is a slow one.
        gates = self.gates(hidden_states).to(query.dtype).contiguous()
        padding = None if attention_mask is None else attention_mask.ne(1).flip(1)[:, None, None]
        dropout = self.dropout if self.training else 0.0
        mixed = []
        for start in range(0, frames, step):
            block = slice(start, start + step)
            bias = gates[:, :, block] * rows[:, block]
            if padding is not None:
                # Not minus infinity: where all keys are padding, the softmax would be 0 / 0.
                bias = bias.masked_fill(padding, torch.finfo(bias.dtype).min)
            mixed.append(functional.scaled_dot_product_attention(query[:, :, block], key, value, bias, dropout))
        joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)
        return self.out_proj(joined.transpose(1, 2).reshape(batch, frames, dim)), None, biases

    def gates(self, hidden_states: Tensor) -> Tensor:
        """Factor that each query multiplies the biases with, [batch, head, frame, 1].

        With two sigmoids a and b of the query, it is a (b c - 1) + 2, which is in (1, 2) where c
        (`gru_rel_pos_const`) is 1.
        """
        batch, frames, _ = hidden_states.shape
        # The linear layer has eight outputs, and each sigmoid takes the sum of four: the weights are summed instead.
        weight = self.gru_rel_pos_linear.weight.view(2, 4, -1).sum(1)
        bias = self.gru_rel_pos_linear.bias.view(2, 4).sum(1)
        outputs = functional.linear(hidden_states.view(batch, frames, self.heads, -1), weight, bias)
        first, second = outputs.sigmoid().transpose(1, 2).chunk(2, dim=-1)
        return first * (second * self.gru_rel_pos_const - 1) + 2

    def biases(self, frames: int) -> Tensor:
        """Learned bias for every distance from frames - 1 down to 1 - frames, [head, 2 * frames - 1].

        Distances share a bias by buckets. Half of the buckets are for keys after the query, half for the others. In
        each half, the first half of the buckets holds one distance each, the second half ranges that grow with the
        logarithm of the distance; the last bucket has no upper end.
        """
        offsets = torch.arange(frames - 1, -frames, -1, device=self.rel_attn_embed.weight.device)  # key - query
        buckets_per_side, single = self.buckets // 2, self.buckets // 4  # single: distances below have their own bucket
        distances = offsets.abs()
        # The order of operations is that of the training code: another one would round edges into other buckets.
        growth = torch.log(distances.float() / single) / math.log(self.max_distance / single)
        growth = growth * (buckets_per_side - single)
        ranges = (single + growth.clamp_min(0)).long().clamp_max(buckets_per_side - 1)  # log(0): minus infinity, then 0
        buckets = torch.where(distances < single, distances, ranges) + buckets_per_side * (offsets > 0)
        biases: Tensor = self.rel_attn_embed(buckets)
        return biases.T


def fuse_attention(model: Any) -> None:
    """Give WavLM `FusedAttention`, and HuBERT and wav2vec2 `sdpa` where they use `eager`; in place, once or more."""
    if model.config.model_type == "wavlm":
        for layer in model.encoder.layers:
            if not isinstance(layer.attention, FusedAttention):
                layer.attention = FusedAttention(layer.attention)
    elif getattr(model.config, "_attn_implementation", None) == "eager" and hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("sdpa")

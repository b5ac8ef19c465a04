"""Run bidirectional LSTMs and GRUs over items of different lengths, each as if it were alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def run_recurrent(network: nn.LSTM | nn.GRU, sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """[batch, frame, feature] -> [batch, frame, 2 * hidden]: forward, then backward; zero beyond `lengths`.

    Args:
        network: bidirectional, `batch_first`.
        sequence: zero or anything else beyond `lengths`.
        lengths: valid frames, [batch]; None: all. On the CPU, so that a GPU is not waited for.
    """
    if lengths is None or bool((lengths == sequence.shape[1]).all()):
        hidden: Tensor = network(sequence)[0]
        return hidden
    if sequence.is_cuda:
        return _run_packed(network, sequence, lengths.cpu())
    # On a CPU a packed network goes frame by frame, and its gradient costs time quadratic in the frames: several times
    # slower than one fused call for all items of one length.
    hidden = sequence.new_zeros(*sequence.shape[:2], 2 * network.hidden_size)
    for length in sorted(set(lengths.tolist())):
        items = (lengths == length).nonzero()[:, 0]
        outputs = network(sequence[items, :length])[0]
        outputs = functional.pad(outputs, (0, 0, 0, hidden.shape[1] - length))
        hidden = hidden.index_put((items,), outputs.to(hidden))
    return hidden


def _run_packed(network: nn.LSTM | nn.GRU, sequence: Tensor, lengths: Tensor) -> Tensor:
    """The same with packed sequences, which keep the backward direction from starting in the padding."""
    # Sorted here on the CPU, because pack_padded_sequence would wait for the GPU to sort.
    order = lengths.argsort(descending=True)
    device = sequence.device
    device_order, inverse_order = (index.to(device, non_blocking=True) for index in (order, order.argsort()))
    packed = nn.utils.rnn.pack_padded_sequence(sequence.index_select(0, device_order), lengths[order], batch_first=True)
    hidden, _ = nn.utils.rnn.pad_packed_sequence(network(packed)[0], batch_first=True, total_length=sequence.shape[1])
    return hidden.index_select(0, inverse_order)

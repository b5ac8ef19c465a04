"""An LSTM written a second time, gate by gate, in numpy."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(sequence, weights, direction):
    """One layer in one direction: [frame, dim] -> [frame, hidden]; gates in the order i, f, g, o."""
    w_input, w_hidden, b_input, b_hidden = weights
    hidden = cell = np.zeros(w_hidden.shape[1])
    outputs = np.zeros((len(sequence), len(hidden)))
    for t in range(len(sequence))[::direction]:
        gates = (w_input @ sequence[t] + b_input + w_hidden @ hidden + b_hidden).reshape(4, -1)
        cell = sigmoid(gates[1]) * cell + sigmoid(gates[0]) * np.tanh(gates[2])
        hidden = outputs[t] = sigmoid(gates[3]) * np.tanh(cell)
    return outputs

"""Clean-noisy distance against a loop over layers and utterances."""

import pytest
import torch

from phonemi.errors import DataError
from phonemi.information.clean_noisy_distance import cn_distance


def test_clean_noisy_distance_of_known_states():
    clean = torch.randn(3, 2, 5, 64, generator=torch.Generator().manual_seed(0))
    noisy = clean.clone()
    noisy[1] = 3 * clean[1] + 7  # LayerNorm undoes scale and offset
    noisy[2] = -clean[2]
    noisy[0, 1, 2:] = 1e3  # padding of the second utterance
    distance, one_minus_cosine = cn_distance(noisy, clean, torch.tensor([5, 2]))
    torch.testing.assert_close(distance, torch.tensor([0.0, 0.0, 2.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(one_minus_cosine[[0, 2]], torch.tensor([0.0, 2.0]), rtol=0, atol=1e-5)
    assert torch.equal(cn_distance(clean, clean).distance, torch.zeros(3))
    with pytest.raises(DataError, match="differ"):
        cn_distance(noisy, clean[:2])

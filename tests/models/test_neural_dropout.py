from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tabular_automl.models.neural_dropout import Dropout  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("rate", [0.001, 0.15, 0.5])
def test_masks_drop_the_share_asked_for_and_keep_the_mean(rate):
    dropout = Dropout(0, CPU)
    mask = torch.cat([dropout.mask(251, 255, rate) for _ in range(4)])
    n_dropped, n = int((mask == 0.0).sum()), mask.numel()
    deviation = (n * rate * (1.0 - rate)) ** 0.5
    assert abs(n_dropped - n * rate) < 5.0 * deviation
    assert mask.max() == torch.tensor(1.0 / (1.0 - rate))
    assert len(mask.unique()) == 2


def test_each_mask_is_another_and_all_come_back_with_their_seed():
    first, again = Dropout(3, CPU), Dropout(3, CPU)
    masks = [first.mask(7, 5, 0.3) for _ in range(2)]
    assert not torch.equal(*masks)
    for mask in masks:
        assert torch.equal(mask, again.mask(7, 5, 0.3))


@pytest.mark.gpu
def test_masks_of_a_gpu_are_made_there():
    mask = Dropout(0, torch.device("cuda")).mask(251, 255, 0.15)
    assert mask.device.type == "cuda"
    assert float((mask == 0.0).float().mean()) == pytest.approx(0.15, abs=0.01)

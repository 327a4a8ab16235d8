import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tabular_automl.models.neural_rows import Padded, Rows  # noqa: E402

CPU = torch.device("cpu")


def rows(n_rows, n_inputs, weight=None):
    x = np.arange(n_rows * n_inputs, dtype=np.float32).reshape(n_rows, n_inputs) + 1
    return Rows(x, np.arange(n_rows, dtype=np.float64), weight)


def test_folds_are_filled_up_with_rows_that_weigh_nothing():
    padded = Padded.of([rows(3, 2), rows(2, 1, np.array([2.0, 6.0]))], 2, "squared_error", CPU)
    assert padded.y.tolist() == [[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]]
    assert padded.weight.tolist() == [[1.0, 1.0, 1.0], [2.0, 6.0, 0.0]]
    first, second = padded.inputs_of(slice(0, 3)).tolist()
    assert first == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert second == [[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]]
    shares = padded.normalised().weight
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    assert shares[1].tolist() == [0.25, 0.75, 0.0]


def test_each_network_reads_rows_of_its_own_fold():
    padded = Padded.of([rows(3, 1), rows(3, 1)], 1, "log_loss", CPU)
    assert padded.y.dtype == torch.int64
    asked = torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0]])  # two networks for each fold
    assert padded.inputs(asked).squeeze(-1).tolist() == [[1, 3], [2, 2], [3, 1], [1, 1]]

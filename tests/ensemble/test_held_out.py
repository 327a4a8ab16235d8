"""What single bags said of rows that they had not seen."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl.data.task import ProblemType, TargetCodec, Task
from tabular_automl.ensemble.bagging import Bag, BagFit
from tabular_automl.ensemble.candidates import Candidate
from tabular_automl.ensemble.held_out import HeldOut, narrowed
from tabular_automl.ensemble.judge import Judge
from tabular_automl.metrics.base import METRICS
from tabular_automl.models.base import ModelSpec


def candidate(key, prediction):
    fit = BagFit(ModelSpec.make("prior"), Bag(key, 1, ()), prediction, 1.0, 0.1)
    return Candidate(fit, prediction, 0.5)


def test_rare_classes_stay_whole_and_keep_their_share():
    rng = np.random.default_rng(0)
    y = np.zeros(60_000, dtype=np.int64)
    y[rng.choice(len(y), 20, replace=False)] = 1
    labels = pd.Series(np.where(y == 1, "rare", "usual"), name="y")
    codec = TargetCodec.fit(labels, Task(ProblemType.BINARY, 2), "log_loss")
    codes = codec.encode(labels)
    judge = Judge(METRICS.get("roc_auc"), codec, codes)
    probability = rng.random((len(y), 2))
    some = [candidate("a", probability), candidate("b", probability)]
    kept = HeldOut.sample(judge, some, {"a"}, np.arange(len(y)))

    rare = kept.y == codes[labels == "rare"][0]
    assert rare.sum() == 20
    assert len(kept.y) == pytest.approx(5_000, abs=1)
    assert kept.weight[rare].sum() / kept.weight.sum() == pytest.approx(20 / 60_000)
    assert {key: len(p) for key, p in kept.predictions.items()} == {"a": len(kept.y)}
    again = HeldOut.from_state(kept.state())
    np.testing.assert_array_equal(again.weight, kept.weight)


def test_predictions_are_narrowed_where_that_does_not_show():
    spread = np.random.default_rng(0).normal(size=(50, 1))
    assert narrowed(spread).dtype == np.float32
    assert narrowed(1.7e9 + 3600 * spread).dtype == np.float64  # a time in seconds
    assert narrowed(1e200 * spread).dtype == np.float64
    wide = HeldOut(spread[:, 0], None, {"a": 1.7e9 + spread})
    np.testing.assert_array_equal(
        HeldOut.from_state(wide.state()).predictions["a"], wide.predictions["a"]
    )

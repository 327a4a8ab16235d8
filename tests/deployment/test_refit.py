import numpy as np
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.deployment import refit


def test_a_refitted_predictor_is_smaller_and_predicts_close_to_the_bags(tmp_path, regression_table):
    config = FitConfig(max_specs=1, n_folds=4)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        regression_table, config=config
    )
    refitted = predictor.refit(regression_table)
    before, after = predictor.predict(regression_table), refitted.predict(regression_table)
    assert np.corrcoef(before, after)[0, 1] > 0.9
    assert refitted.disk_usage()["lightgbm"] < predictor.disk_usage()["lightgbm"]
    refitted.save(tmp_path / "small")
    loaded = Predictor.load(tmp_path / "small", verbosity=0)
    np.testing.assert_allclose(loaded.predict(regression_table), after, rtol=1e-6)


def test_rows_without_a_label_are_left_out_of_a_refit(tmp_path, regression_table):
    events = []
    predictor = Predictor("y", path=tmp_path / "p", reporter=events.append).fit(
        regression_table, config=FitConfig(max_specs=1, n_folds=2)
    )
    table = regression_table.copy()
    table.loc[:3, "y"] = np.nan
    assert predictor.refit(table).predict(table).notna().all()
    assert events[-1].text == "4 of 240 rows have no label and were dropped."
    table["y"] = table["y"].astype(object)
    table.loc[:4, "y"] = "?"
    assert predictor.refit(table).predict(table).notna().all()
    assert events[-1].text == "5 of 240 rows have no label and were dropped."


def test_weights_count_in_a_refit(tmp_path, regression_table):
    half = regression_table["garden"]
    table = regression_table.assign(w=np.where(half, 1.0, 1e-6))
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, columns={"w": "weight"}, config=FitConfig(max_specs=1, n_folds=2)
    )
    weighted, plain = predictor.refit(table), predictor.refit(table.assign(w=1.0))
    assert not np.allclose(weighted.predict(table), plain.predict(table))


def test_a_refit_on_newer_rows_predicts_as_high_as_their_labels(tmp_path, regression_table):
    table = regression_table.assign(y=regression_table["y"] - regression_table["y"].min())
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, config=FitConfig(max_specs=1, n_folds=2, families=("linear",))
    )
    newer = table.assign(y=3 * table["y"])
    refitted = predictor.refit(newer)
    assert refitted.predict(newer).max() > 1.5 * predictor.predict(newer).max()
    assert refitted.predict(newer).min() >= 0.0  # as no label is below it
    refitted.save(tmp_path / "newer")
    loaded = Predictor.load(tmp_path / "newer", verbosity=0)
    np.testing.assert_allclose(loaded.predict(newer), refitted.predict(newer), rtol=1e-6)


def test_refit_needs_the_label(tmp_path, regression_table):
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        regression_table, config=FitConfig(max_specs=1, n_folds=2)
    )
    with pytest.raises(ValueError, match="Unknown label column 'y'"):
        predictor.refit(regression_table.drop(columns="y"))


def test_a_second_layer_is_refitted_on_what_the_first_predicts_out_of_fold(
    tmp_path, regression_table, monkeypatch
):
    monkeypatch.setattr("tabular_automl.plan._ENOUGH_TO_CHOOSE_BY", 100)
    monkeypatch.setattr("tabular_automl.plan._ENOUGH_FOR_ONE_MODEL", 100)
    monkeypatch.setattr("tabular_automl.ensemble.stacking._WORTH", -np.inf)

    def only_the_second_layer(request, candidates, budget):
        # It gains next to nothing here: what variants the clock lets in must not decide.
        is_late = np.array([candidate.bag.layer == 2 for candidate in candidates], dtype=float)
        return is_late / is_late.sum()

    monkeypatch.setattr("tabular_automl.pipeline.ensemble_weights", only_the_second_layer)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        regression_table, time_limit=20, config=FitConfig(families=("lightgbm", "extra_trees"))
    )
    stack = predictor._fitted().stack
    assert stack.feeds.keys() == {2}
    assert {len(bag.models) for bag in stack.bags} == {1}
    answers = predictor.predict(regression_table)
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    np.testing.assert_array_equal(loaded.predict(regression_table), answers)
    learned_from = []
    refit_bag = refit.refit_bag
    monkeypatch.setattr(
        refit,
        "refit_bag",
        lambda bag, samples, budget: (
            learned_from.append((bag.layer, samples.table)) or refit_bag(bag, samples, budget)
        ),
    )
    refitted = predictor.refit(regression_table)
    assert np.corrcoef(refitted.predict(regression_table), answers)[0, 1] > 0.9
    n_rows = len(regression_table)
    parts = [len(table) for layer, table in learned_from if layer == 1 and len(table) < n_rows]
    assert len(parts) == 4 * len(stack.feeds[2])
    assert set(parts) == {n_rows * 3 // 4}
    second = next(table for layer, table in learned_from if layer == 2)
    features = predictor._fitted().featurizer.transform(regression_table.drop(columns="y"))
    of_all_rows = refitted._fitted().stack.outputs(features)
    read = second.numeric[:, -len(stack.feeds[2]) :]
    assert not any(
        np.allclose(read[:, i], of_all_rows[key][:, 0]) for i, key in enumerate(stack.feeds[2])
    )


def test_refit_needs_the_weight_and_not_the_time(tmp_path, regression_table):
    rng = np.random.default_rng(0)
    table = regression_table.assign(w=rng.uniform(1, 2, len(regression_table)))
    table["day"] = np.arange(len(table))
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, columns={"w": "weight", "day": "time"}, config=FitConfig(max_specs=1, n_folds=2)
    )
    predictor.refit(table.drop(columns="day"))
    with pytest.raises(ValueError, match="must have the weight column 'w', as training had"):
        predictor.refit(table.drop(columns="w"))

import numpy as np
import pytest

from tabular_automl.config import FitConfig
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.parallel import Machine
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.extend import register_model
from tabular_automl.models.base import MODELS, ModelSpec
from tabular_automl.models.prior import Prior
from tabular_automl.spec_choice import kinds_read, least_seconds
from tests.plans import BINARY, keys, plan


def test_features_of_two_need_two_columns_of_numbers():
    of_numbers = {"lightgbm_pairs", "lightgbm_pairs_extra", "catboost_pairs"}
    assert of_numbers <= set(keys(plan(n_samples=5_000, n_numbers=2).layers[0]))
    without = plan(n_samples=5_000, n_numbers=1)
    assert not of_numbers & set(keys(without.layers[0]))
    assert of_numbers <= dict(without.left_out).keys()


def test_features_of_two_are_not_tried_where_none_would_be_made():
    of_numbers = {"lightgbm_pairs", "lightgbm_pairs_extra", "catboost_pairs"}
    assert of_numbers <= set(keys(plan(n_samples=5_000, n_features=500).layers[0]))
    assert of_numbers <= dict(plan(n_samples=5_000, n_features=501).left_out).keys()


def test_a_family_that_is_asked_for_is_tried_on_any_table():
    asked = plan(FitConfig(families=("linear", "neural")), n_samples=250_000)
    assert keys(asked.layers[0]) == ["neural", "linear"]
    assert not {"neural", "linear"} & dict(asked.left_out).keys()
    with_another = plan(FitConfig(families=("linear", "xgboost")), n_samples=250_000)
    assert keys(with_another.layers[0]) == ["xgboost"]


def test_families_and_exclude_choose_the_specs():
    only = plan(FitConfig(families=("lightgbm",), exclude=("lightgbm_extra",)))
    assert all(planned.spec.family == "lightgbm" for planned in only.layers[0])
    assert "lightgbm_extra" not in keys(only.layers[0])


def test_a_users_own_spec_comes_first():
    spec = ModelSpec.make("prior", "mine")
    assert keys(plan(FitConfig(specs=(spec,))).layers[0])[0] == "mine"


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(InvalidOptionError, match="Did you mean 'lightgbm'"):
        plan(FitConfig(families=("lightgb",)))


def test_leaving_no_model_raises():
    with pytest.raises(InvalidOptionError, match="at least one model"):
        plan(FitConfig(families=("lightgbm",), exclude=("lightgbm",)))


def test_an_error_tells_why_each_family_was_left_out(monkeypatch):
    monkeypatch.setattr(
        "tabular_automl.spec_choice._reason_against", lambda *_: "not worth it here"
    )
    with pytest.raises(InvalidOptionError, match="; lightgbm: not worth it here"):
        plan(FitConfig(families=("lightgbm",)))


def test_families_of_which_nothing_is_tried_are_told():
    skipped = dict(plan(FitConfig(families=("linear", "prior", "text_linear"))).left_out)
    assert "FitConfig(specs=...)" in skipped["prior"]
    assert "no column of kind text" in skipped["text_linear"]
    spec = ModelSpec.make("prior", "mine")
    assert "prior" not in dict(plan(FitConfig(families=("prior",), specs=(spec,))).left_out)


def test_a_spec_of_the_users_own_replaces_the_portfolios_of_the_same_key():
    deep = ModelSpec.make("catboost", depth=8)
    layer = plan(FitConfig(specs=(deep,))).layers[0]
    assert keys(layer).count("catboost") == 1
    assert layer[0].spec == deep


def test_two_specs_of_one_key_raise():
    with pytest.raises(InvalidOptionError, match="specs must be of different keys"):
        plan(FitConfig(specs=(ModelSpec.make("prior"), ModelSpec.make("prior"))))


def test_a_family_whose_package_is_absent_is_left_out_with_the_command(monkeypatch):
    monkeypatch.setattr("tabular_automl.spec_choice.is_installed", lambda module: module != "torch")
    reasons = dict(plan().left_out)
    assert "pip install" in reasons["neural"]


def test_a_family_that_reads_a_kind_joins_where_the_table_has_such_a_column():
    @register_model("reader_of_texts")
    class Reader(Prior):
        reads = frozenset({Kind.TEXT})

    try:
        assert "reader_of_texts" not in keys(plan().layers[0])
        assert "reader_of_texts" not in keys(plan(raw_kinds=frozenset({Kind.IMAGE})).layers[0])
        assert keys(plan(raw_kinds=frozenset({Kind.TEXT})).layers[0])[0] == "reader_of_texts"
    finally:
        MODELS.unregister("reader_of_texts")


def test_a_costly_reader_waits_for_the_cheapest_of_the_same_kind():
    @register_model("cheap_reader")
    class Cheap(Prior):
        reads = frozenset({Kind.TEXT})

    @register_model("costly_reader")
    class Costly(Cheap):
        cost = 50.0

    try:
        layer = plan(FitConfig(families=("cheap_reader", "costly_reader")), raw_kinds=Cheap.reads)
        waits_for = {planned.spec.key: planned.after for planned in layer.layers[0]}
        assert waits_for == {"cheap_reader": None, "costly_reader": "cheap_reader"}
        assert layer.first_pass < 1.0
    finally:
        MODELS.unregister("cheap_reader")
        MODELS.unregister("costly_reader")


def test_a_reader_needs_time_for_all_folds_unless_it_is_asked_for():
    @register_model("slow_reader")
    class Slow(Prior):
        reads = frozenset({Kind.TEXT})

    def tried(config=None, limit=60.0):
        shape = {"raw_kinds": Slow.reads, "least_seconds": {"slow_reader": 10.0}}
        planned = plan(config, limit=limit, **shape)
        return "slow_reader" in keys(planned.layers[0]), dict(planned.left_out)

    try:
        there, left_out = tried()
        assert not there
        reason = "would take about 80 s at least, and there are 24 s for it"
        assert left_out["slow_reader"] == reason
        assert tried(limit=200.0)[0]
        assert tried(FitConfig(n_folds=2), limit=60.0)[0]
        assert tried(FitConfig(families=("slow_reader",)))[0]
        trials = tried(FitConfig(max_specs=3), limit=None)
        assert not trials[0]
        assert "takes 80 s or more" in trials[1]["slow_reader"]
        assert tried(FitConfig(max_specs=3, families=("slow_reader",)), limit=None)[0]
    finally:
        MODELS.unregister("slow_reader")


def test_families_are_asked_for_their_time_where_they_may_read_the_table():
    @register_model("timed_reader")
    class Timed(Prior):
        reads = frozenset({Kind.TEXT})

        @classmethod
        def least_seconds(cls, table, task, n_cores):
            return len(table) * task.n_classes / n_cores

    texts = FeatureTable(
        np.zeros((30, 1), np.float32),
        np.zeros((30, 0), np.int32),
        ("number",),
        raw={"review": np.array(["a text"] * 30, dtype=object)},
        raw_kinds={"review": Kind.TEXT},
    )
    plain = FeatureTable.empty(30)
    try:
        asked = FitConfig(families=("timed_reader",))
        assert least_seconds(asked, texts, BINARY, Machine(2, 1)) == {"timed_reader": 30.0}
        assert least_seconds(asked, plain, BINARY, Machine(2, 1)) == {}
        assert least_seconds(FitConfig(families=("linear",)), texts, BINARY, Machine(2, 1)) == {}
    finally:
        MODELS.unregister("timed_reader")


def test_a_plug_in_that_cannot_be_imported_stops_no_plan(monkeypatch):
    monkeypatch.setitem(MODELS._targets, "broken", "no_such_module_here:Model")
    with pytest.warns(UserWarning, match="'broken' could not be loaded"):
        found = plan(FitConfig(families=("linear",)), raw_kinds=frozenset({Kind.IMAGE}))
    assert keys(found.layers[0]) == ["linear"]


def test_kinds_are_read_where_a_family_that_reads_them_may_take_part():
    kinds = frozenset({Kind.TEXT, Kind.IMAGE})

    @register_model("reader")
    class Reader(Prior):
        reads = frozenset({Kind.TEXT})

    try:
        spec = ModelSpec.make("reader")
        read = [
            kinds_read(config, kinds)
            for config in (
                FitConfig(families=("reader", "linear")),
                FitConfig(families=("linear",)),
                FitConfig(families=("linear",), specs=(spec,)),
                FitConfig(families=("reader",), exclude=("reader",)),
            )
        ]
    finally:
        MODELS.unregister("reader")
    assert read == [Reader.reads, frozenset(), Reader.reads, frozenset()]


@pytest.mark.parametrize(
    "key", ["ensemble", "lightgbm_v1", "catboost_long", "mine_l2", "lightgbm_v3_long"]
)
def test_a_key_that_a_fit_may_use_itself_is_refused(key):
    specs = (ModelSpec.make("prior", "mine"), ModelSpec.make("prior", key))
    with pytest.raises(InvalidOptionError, match=f"key '{key}' is what a fit may call"):
        plan(FitConfig(specs=specs))


@pytest.mark.parametrize("key", ["slow_long", "other_v2", "lightgbm_l1", "v1"])
def test_a_key_that_only_looks_like_one_is_taken(key):
    specs = (ModelSpec.make("prior", "mine"), ModelSpec.make("prior", key))
    assert key in keys(plan(FitConfig(specs=specs)).layers[0])


def test_families_may_name_single_specs():
    chosen = plan(FitConfig(families=("linear", "lightgbm_extra")), limit=None)
    assert set(keys(chosen.layers[0])) == {"linear", "lightgbm_extra"}

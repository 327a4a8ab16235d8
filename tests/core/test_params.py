import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.params import Domain, Params, param


@dataclass(frozen=True)
class Forest(Params):
    n_trees: int = param(100, 1, 1000, log=True)
    rate: float = param(0.1, 0.0, 1.0)
    depth: int | None = param(None, 1)
    criterion: str = param("gini", choices=("gini", "entropy"))
    extra: bool = param(False, doc="Random splits.")


def test_defaults_are_valid_and_plain():
    values = Forest().to_dict()
    assert values == {
        "n_trees": 100, "rate": 0.1, "depth": None, "criterion": "gini", "extra": False,
    }  # fmt: skip
    assert Forest.from_dict(json.loads(json.dumps(values))) == Forest()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n_trees", 0, "an integer from 1 to 1000, got 0"),
        ("n_trees", 2.5, "an integer from 1 to 1000, got 2.5"),
        ("n_trees", math.inf, "an integer from 1 to 1000, got inf"),
        ("n_trees", math.nan, "an integer from 1 to 1000, got nan"),
        ("n_trees", True, "got True"),
        ("n_trees", None, "got None"),
        ("n_trees", "5", "got '5'"),
        ("rate", 1.01, r"a number from 0\.0 to 1\.0, got 1\.01"),
        ("rate", math.nan, "got nan"),
        ("depth", 0, "an integer of at least 1 or None, got 0"),
        ("criterion", "mse", "one of 'gini', 'entropy', got 'mse'"),
        ("extra", "yes", "one of True, False, got 'yes'"),
    ],
)
def test_values_outside_the_domain_are_refused(name, value, expected):
    with pytest.raises(InvalidOptionError, match=rf"Forest\.{name} must be .*{expected}"):
        Forest(**{name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"n_trees": 1},
        {"n_trees": 1000},
        {"n_trees": 7.0},
        {"rate": 1},
        {"depth": 3},
        {"depth": None},
    ],
)
def test_values_inside_the_domain_are_kept(values: dict[str, Any]):
    for name, value in values.items():
        assert getattr(Forest.from_dict(values), name) == value


def test_unknown_names_get_the_nearest():
    with pytest.raises(InvalidOptionError, match=r"'n_tree'. Did you mean 'n_trees'"):
        Forest.from_dict({"n_tree": 5})


def test_domains_hold_what_was_declared():
    domains = Forest.domains()
    assert list(domains) == ["n_trees", "rate", "depth", "criterion", "extra"]
    assert domains["n_trees"] == Domain(1, 1000, log=True, integer=True)
    assert domains["depth"] == Domain(1, None, optional=True, integer=True)
    assert domains["extra"] == Domain(choices=(True, False), doc="Random splits.")
    assert not domains["rate"].integer


def test_an_open_domain_is_described_by_its_kind():
    assert Domain().describe() == "a number"
    assert Domain(high=3).describe() == "a number of at most 3"
    assert Domain(integer=True, optional=True).describe() == "an integer or None"


def test_fields_without_a_declaration_are_not_checked():
    @dataclass(frozen=True)
    class Free(Params):
        anything: object = None

    assert Free(anything={}).to_dict() == {"anything": {}}
    assert Free.domains() == {}


def test_params_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        Forest().rate = 0.5  # type: ignore[misc]

import json
import os
import sys

import pytest

from tabular_automl.core.errors import MissingDependencyError
from tabular_automl.core.imports import (
    import_installed,
    import_optional,
    is_installed,
    seconds_to_import,
)


def test_an_installed_package_is_imported():
    assert import_optional("json", extra="none", purpose="a test") is json


def test_a_missing_package_names_the_extra_that_brings_it():
    with pytest.raises(
        MissingDependencyError,
        match=r"Speed needs the package 'nowhere'.*pip install 'tabular-automl\[fast\]'",
    ) as caught:
        import_optional("nowhere.inside", extra="fast", purpose="Speed")
    assert isinstance(caught.value.__cause__, ImportError)


def test_being_installed_is_found_out_without_an_import(monkeypatch):
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    assert is_installed("antigravity")
    assert "antigravity" not in sys.modules
    assert not is_installed("nowhere_to_be_found")


def test_packages_that_are_absent_are_passed_over(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    import_installed(("nowhere_to_be_found", "colorsys"))
    assert "colorsys" in sys.modules


@pytest.mark.parametrize(("n_rows", "expected"), [(99_999, None), (100_000, "0")])
def test_what_is_imported_for_many_rows_gives_freed_memory_back_at_once(
    n_rows, expected, tmp_path, monkeypatch
):
    looks = "import os\nseen = os.environ.get('MIMALLOC_PURGE_DELAY')\n"
    (tmp_path / "looks_as_it_is_loaded.py").write_text(looks)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "looks_as_it_is_loaded", raising=False)
    monkeypatch.delenv("MIMALLOC_PURGE_DELAY", raising=False)
    import_installed(("looks_as_it_is_loaded",), n_rows)
    assert sys.modules.pop("looks_as_it_is_loaded").seen == expected
    assert "MIMALLOC_PURGE_DELAY" not in os.environ


def test_what_is_imported_already_takes_no_time(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", json)
    monkeypatch.delitem(sys.modules, "catboost", raising=False)
    assert seconds_to_import(("torch",)) == 0.0
    assert seconds_to_import(("torch", "catboost", "catboost.utils")) == 0.3

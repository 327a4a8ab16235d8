import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.registry import Registry

GROUP = "tabular_automl.test_things"


@pytest.fixture
def registry() -> Registry[Any]:
    return Registry(
        "thing", GROUP, {"ordered": "collections:OrderedDict", "lost": "collections:No"}
    )


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Declare one entry point "plugged", and write the module behind it."""
    entry = importlib.metadata.EntryPoint("plugged", "a_plug_in:thing", GROUP)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if group == GROUP else []
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_plug_in", raising=False)
    return lambda code: (tmp_path / "a_plug_in.py").write_text(code) and None


def test_builtins_are_imported_when_asked_for(registry):
    import collections

    assert registry.names() == ["lost", "ordered"]
    assert registry.get("ordered") is collections.OrderedDict


def test_names_import_nothing(registry):
    modest = Registry("thing", GROUP, {"heavy": "a_module_that_does_not_exist:thing"})
    assert list(modest) == ["heavy"]
    assert "heavy" in modest
    assert "light" not in modest


def test_things_register_by_call_and_by_decorator(registry):
    registry.register("number", 5)

    @registry.register("function")
    def function() -> None: ...

    assert registry.get("number") == 5
    assert registry.get("function") is function
    assert registry.names() == ["function", "lost", "number", "ordered"]


def test_a_registered_thing_comes_before_a_builtin_until_unregistered(registry):
    import collections

    registry.register("ordered", "mine")
    assert registry.get("ordered") == "mine"
    registry.unregister("ordered")
    registry.unregister("never registered")
    assert registry.get("ordered") is collections.OrderedDict


def test_unknown_names_get_the_nearest(registry):
    with pytest.raises(InvalidOptionError, match=r"thing 'orderd'\. Did you mean 'ordered'"):
        registry.get("orderd")


def test_a_lost_attribute_names_its_target(registry):
    with pytest.raises(
        InvalidOptionError, match=r"'lost' could not be loaded from 'collections:No'"
    ):
        registry.get("lost")


def test_entry_points_join(plug_in, registry):
    plug_in("thing = 'from outside'")
    assert "plugged" in registry
    assert registry.get("plugged") == "from outside"


BROKEN = [
    *("import nowhere_to_be_found", "thing = (", "other = 1"),
    *("raise OSError('no library')", "raise RuntimeError('no driver')", "{}['absent']"),
    "from tabular_automl.core.errors import DataError as E; raise E('no data')",
    *("assert not 'supported'", "1 / 0", "raise EOFError('no end')"),
    "import subprocess; raise subprocess.CalledProcessError(1, 'nvidia-smi')",
]


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_plug_in_fails_only_when_used(plug_in, registry, code):
    plug_in(code)
    assert "plugged" in registry.names()
    assert registry.get("ordered")
    with pytest.raises(InvalidOptionError, match="'plugged' could not be loaded") as caught:
        registry.get("plugged")
    assert caught.value.__cause__ is not None


def test_all_that_can_be_loaded_comes_with_a_warning_of_the_rest(plug_in, registry):
    import collections

    plug_in("raise RuntimeError('no driver')")
    with pytest.warns(UserWarning, match="Skipped: ") as told:
        assert registry.available() == {"ordered": collections.OrderedDict}
    texts = [str(warning.message) for warning in told]
    assert "'lost' could not be loaded" in texts[0]
    assert "RuntimeError: no driver" in texts[1]

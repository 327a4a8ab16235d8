"""Each package that is shipped tells type checkers that its annotations are meant for them."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

SETTINGS = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
PACKAGES = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_of_the_wheel_is_marked_as_typed(package):
    assert (files(package) / "py.typed").is_file()

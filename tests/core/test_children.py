import json
import os
import subprocess
import sys
import textwrap

import pytest

from tabular_automl.core.children import (
    end_child,
    how_it_ended,
    resident_bytes,
    start_child,
)


@pytest.fixture
def child_module(tmp_path, monkeypatch):
    """Return what writes a module that a child can run."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body):
        begin = "import sys\nfrom pathlib import Path\n"
        begin += "from tabular_automl.core.children import become_child\n"
        begin += "become_child(Path(sys.argv[1]))\n"
        (tmp_path / "some_child.py").write_text(begin + textwrap.dedent(body))
        return "some_child"

    return write


def test_what_a_child_raises_and_prints_is_left_for_the_parent(child_module, tmp_path):
    module = child_module("print('began'); raise KeyError('gone')")
    child = start_child(module, str(tmp_path / "error"), output=tmp_path / "output")
    assert child.wait(timeout=60) == 1
    end_child(child)
    error = json.loads((tmp_path / "error").read_text())
    assert (error["kind"], error["text"]) == ("KeyError", "'gone'")
    assert "LookupError" in error["bases"]
    assert (tmp_path / "output").read_text().startswith("began")


def test_a_child_that_goes_on_for_ever_is_ended(child_module, tmp_path):
    child = start_child(
        child_module("while True: pass"), str(tmp_path / "error"), output=tmp_path / "output"
    )
    end_child(child)
    assert child.returncode is not None
    end_child(child)  # once more does no harm


def test_a_child_ends_when_its_standard_input_does(child_module, tmp_path):
    module = child_module("import time; time.sleep(600)")
    child = start_child(module, str(tmp_path / "error"), output=tmp_path / "output")
    child.stdin.close()
    try:
        assert child.wait(timeout=60) == 1
    except subprocess.TimeoutExpired:
        end_child(child)
        raise


def test_the_end_of_a_process_in_words():
    assert how_it_ended(3) == "exited with code 3"
    assert how_it_ended(-11) == "was ended by SIGSEGV"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_of_a_process_is_known_where_the_system_tells():
    assert resident_bytes(os.getpid()) > 1_000_000
    assert resident_bytes(2**22 + 1) == 0  # above the largest process id

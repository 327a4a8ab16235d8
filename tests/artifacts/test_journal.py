import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tabular_automl.artifacts.journal import Journal
from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import PathError


def unit(value: int) -> State:
    return State(meta={"value": value}, arrays={"oof": np.full(3, value)})


def test_units_come_back_in_another_journal_object(tmp_path):
    journal = Journal(tmp_path / "journal")
    assert journal.keys() == []
    journal.append("lightgbm/fold 0", unit(1))
    journal.append("../x", unit(2))
    again = Journal(tmp_path / "journal")
    assert again.keys() == ["lightgbm/fold 0", "../x"]
    assert again.read("lightgbm/fold 0").arrays["oof"].tolist() == [1, 1, 1]
    assert again.read("../x").meta == {"value": 2}


def test_later_unit_of_a_key_takes_the_place_of_the_earlier(tmp_path):
    journal = Journal(tmp_path)
    for value in (1, 2):
        journal.append("a", unit(value))
    assert journal.read("a").meta["value"] == 2
    assert Journal(tmp_path).read("a").meta["value"] == 2
    assert Journal(tmp_path).keys() == ["a"]


def test_absent_key_is_named(tmp_path):
    with pytest.raises(KeyError, match="has no entry 'a'"):
        Journal(tmp_path).read("a")


@pytest.mark.parametrize("damage", ["no manifest", "cut", "changed"])
def test_damaged_tail_is_passed_over_and_work_goes_on(tmp_path, damage):
    journal = Journal(tmp_path)
    journal.append("a", unit(1))
    journal.append("b", unit(2))
    arrays = next((tmp_path / "000001").glob("data-*/arrays.npz"))
    content = arrays.read_bytes()
    if damage == "no manifest":
        (tmp_path / "000001" / "manifest.json").unlink()
    else:
        arrays.write_bytes(content[:50] if damage == "cut" else content[:-1] + b"!")
    again = Journal(tmp_path)
    assert again.keys() == ["a"]
    again.append("b", unit(3))
    assert Journal(tmp_path).read("b").meta["value"] == 3


def test_damaged_later_unit_gives_back_the_earlier_of_the_same_key(tmp_path):
    journal = Journal(tmp_path)
    journal.append("a", unit(1))
    journal.append("a", unit(2))
    shutil.rmtree(next((tmp_path / "000001").glob("data-*")))
    assert Journal(tmp_path).read("a").meta["value"] == 1


def test_killed_writer_loses_nothing_that_was_reported_as_written(tmp_path):
    code = (
        "import sys; from tabular_automl.artifacts.journal import Journal; "
        "from tabular_automl.artifacts.state import State\n"
        "journal = Journal(sys.argv[1])\n"
        "for i in range(10**6):\n"
        "    journal.append(str(i), State(meta={'value': i}, blobs={'b': bytes(1000)}))\n"
        "    print(i, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    reported = [int(writer.stdout.readline()) for _ in range(5)]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    journal = Journal(tmp_path)
    for i in reported:
        assert journal.read(str(i)).meta["value"] == i


def test_a_first_entry_alone_is_no_work(tmp_path):
    journal = Journal(tmp_path / "journal")
    assert journal.is_empty
    journal.append("fit", unit(1))
    assert journal.is_empty
    journal.append("a", unit(2))
    assert not journal.is_empty


def test_cleared_journal_has_forgotten_its_entries(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.append("a", unit(1))
    journal.clear()
    assert journal.keys() == []
    journal.append("b", unit(2))
    assert Journal(tmp_path / "journal").keys() == ["b"]


def test_only_one_at_a_time_may_write(tmp_path):
    path = tmp_path / "model" / "journal"
    with Journal(path).locked():
        with pytest.raises(PathError, match=r"Another fit is writing to .*model"):
            Journal(path).locked().__enter__()
        Journal(path).append("a", unit(1))
    with Journal(path).locked():
        assert Journal(path).keys() == ["a"]


def test_lock_of_an_unused_journal_leaves_no_folder(tmp_path):
    with Journal(tmp_path / "model" / "journal").locked():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_looked_into_is_told_in_a_sentence(tmp_path):
    journal = Journal(tmp_path / ("x" * 5_000) / "journal")
    with pytest.raises(PathError, match="could not be looked into: File name too long"):
        journal.keys()
    with pytest.raises(PathError, match=r"cannot be written to: .*File name too long"):
        journal.locked().__enter__()


def test_a_disk_without_locks_is_written_to_without_one(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Journal(tmp_path / "journal").locked():
        Journal(tmp_path / "journal").append("a", unit(1))
    assert Journal(tmp_path / "journal").keys() == ["a"]


def test_the_lock_file_is_closed_before_it_is_removed(tmp_path, monkeypatch):
    done = []
    close, unlink = os.close, Path.unlink
    monkeypatch.setattr(os, "close", lambda number: (done.append("close"), close(number)))
    monkeypatch.setattr(Path, "unlink", lambda *a, **k: (done.append("unlink"), unlink(*a, **k)))
    with Journal(tmp_path / "journal").locked():
        done.clear()  # of the folders that were synced
    assert done == ["close", "unlink"]

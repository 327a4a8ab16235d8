import pytest

from tabular_automl.core.devices import choose_device
from tabular_automl.core.errors import AutoMLError

torch = pytest.importorskip("torch")


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch):
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device().type == kind
        assert choose_device("cpu").type == "cpu"


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AutoMLError, match="torch sees none"):
        choose_device("cuda")

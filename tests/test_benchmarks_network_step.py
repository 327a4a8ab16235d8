from __future__ import annotations

import csv

import pytest
import torch

from benchmarks.network_step import CASES, Case, main, milliseconds


@pytest.mark.parametrize("name", CASES)
def test_both_ways_compute_the_same_but_for_the_masks(name, monkeypatch):
    monkeypatch.setattr("benchmarks.network_step.DROPOUT", 0.0)
    case = Case(*CASES[name])
    found = []
    for step in (case.by_hand, case.by_autograd):
        step()
        found.append({name: gradient.clone() for name, gradient in case.net.gradients.items()})
    for key, gradient in found[0].items():
        largest = float(gradient.abs().max())
        assert torch.allclose(gradient, found[1][key], atol=1e-4 * largest)


def test_each_case_has_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "benchmarks.network_step.milliseconds", lambda steps: milliseconds(steps, 1)
    )
    main(tmp_path / "step.csv")
    rows = list(csv.DictReader((tmp_path / "step.csv").open()))
    assert [row["case"] for row in rows] == list(CASES)

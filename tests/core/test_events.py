import dataclasses
import inspect
import json

import pytest

from tabular_automl.core import events
from tabular_automl.core.events import Event, Note, SpecFinished, silent

KINDS = [kind for _, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, Event)]


@pytest.mark.parametrize("kind", KINDS)
def test_events_cannot_change(kind):
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen


def test_events_hold_plain_values():
    event = SpecFinished("lightgbm", 1, 0.9, 0.95, 3.5)
    assert json.loads(json.dumps(dataclasses.asdict(event)))["best_score"] == 0.95


def test_a_reporter_is_any_callable():
    heard = []
    for report in (heard.append, silent):
        report(Note("10 rows have no label and were dropped."))
    assert [event.text for event in heard] == ["10 rows have no label and were dropped."]


def test_silence_prints_nothing(capsys):
    silent(Note("hello"))
    assert capsys.readouterr() == ("", "")

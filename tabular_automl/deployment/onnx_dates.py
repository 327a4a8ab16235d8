"""Calendar features of times in seconds since 1970, as `DatetimeEncoder` makes them, in a graph.

The civil calendar is computed with whole numbers in float64, counted from 1 March 0000, so that
the day that may be absent is the last of a year.

References
----------
H. Hinnant, "chrono-compatible low-level date algorithms", 2021.
"""

from __future__ import annotations

import numpy as np

from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.encoders.datetime import CYCLES, DAY

_FROM_MARCH_0000 = 719_468.0  # to 1970-01-01, in days
_ERA_YEARS, _ERA_DAYS = 400.0, 146_097.0  # after which the calendar repeats itself
_MARCH_TO_NEW_YEAR, _NEW_YEAR_TO_MARCH = 306.0, 59.0


class Calendar:
    """The parts of some times.

    Parameters
    ----------
    graph : Graph
    seconds : Value
        float64, NaN where missing, of any shape.
    """

    def __init__(self, graph: Graph, seconds: Value) -> None:
        self._graph = graph
        self._missing = graph.add("IsNaN", seconds)
        self._filled = graph.add("Where", self._missing, np.float64(0.0), seconds)
        self._day_number = self._floor(self._over(self._filled, DAY))

    def parts(self) -> dict[str, Value]:
        """Return every part by its name, cycles and "missing" included; NaN where missing."""
        year, month, day, day_of_year = self._date(self._day_number)
        _, _, next_day, _ = self._date(self._plus(self._day_number, 1.0))
        whole_days = self._times(self._day_number, DAY)
        since_midnight = self._graph.add("Sub", self._filled, whole_days)
        hour = self._over(since_midnight, 3600.0)
        minute = self._floor(self._plus(self._times(hour, 60.0), 1e-6))
        parts = {
            "year": year,
            "month": month,
            "day": day,
            "weekday": self._modulo(self._plus(self._day_number, 3.0), 7.0),
            "dayofyear": day_of_year,
            "monthend": self._where("Equal", next_day, 1.0, 1.0, 0.0),
            "hour": hour,
            "minute": self._modulo(minute, 60.0),
            "second": self._modulo(self._floor(since_midnight), 60.0),
        }
        for name, period in CYCLES.items():
            angle = self._times(parts[name], 2 * np.pi / period)
            parts[f"{name}:sin"] = self._graph.add("Sin", angle)
            parts[f"{name}:cos"] = self._graph.add("Sin", self._plus(angle, np.pi / 2))
        nan = np.float64(np.nan)
        known = {n: self._graph.add("Where", self._missing, nan, v) for n, v in parts.items()}
        return {**known, "missing": self._graph.cast(self._missing, np.float64)}

    def _date(self, day_number: Value) -> tuple[Value, Value, Value, Value]:
        """Return year, month, day, and the day of the year."""
        days = self._plus(day_number, _FROM_MARCH_0000)
        era = self._floor(self._over(days, _ERA_DAYS))
        day_of_era = self._minus(days, self._times(era, _ERA_DAYS))
        year_of_era, since_march = self._year_of_era(day_of_era)
        month = self._floor(self._over(self._plus(self._times(since_march, 5.0), 2.0), 153.0))
        before = self._floor(self._over(self._plus(self._times(month, 153.0), 2.0), 5.0))
        day = self._plus(self._minus(since_march, before), 1.0)
        is_late = self._where("Less", month, 10.0, 0.0, 1.0)  # January or February
        year = self._graph.add("Add", self._times(era, _ERA_YEARS), year_of_era)
        year = self._graph.add("Add", year, is_late)
        month = self._plus(self._minus(month, self._times(is_late, 12.0)), 3.0)
        in_spring = self._graph.add("Add", self._leap(year), self._plus(since_march, 1.0))
        in_spring = self._plus(in_spring, _NEW_YEAR_TO_MARCH)
        in_winter = self._plus(since_march, 1.0 - _MARCH_TO_NEW_YEAR)
        late = self._graph.cast(is_late, np.bool_)
        return year, month, day, self._graph.add("Where", late, in_winter, in_spring)

    def _year_of_era(self, day: Value) -> tuple[Value, Value]:
        """Return the year since the era began, from March on, and the days since its 1 March."""
        leap_days = self._minus(
            self._floor(self._over(day, 36_524.0)), self._floor(self._over(day, 146_096.0))
        )
        leap_days = self._minus(self._floor(self._over(day, 1460.0)), leap_days)
        year = self._floor(self._over(self._minus(day, leap_days), 365.0))
        quarters, centuries = (self._floor(self._over(year, n)) for n in (4.0, 100.0))
        first = self._graph.add("Add", self._times(year, 365.0), self._minus(quarters, centuries))
        return year, self._minus(day, first)

    def _leap(self, year: Value) -> Value:
        """Return 1.0 for years that have a 29 February, else 0.0."""
        every = [self._where("Equal", self._modulo(year, n), 0.0, 1.0, 0.0) for n in (4, 100, 400)]
        return self._graph.add("Add", self._minus(every[0], every[1]), every[2])

    def _where(self, op: str, value: Value, other: float, yes: float, no: float) -> Value:
        answer = self._graph.add(op, value, np.float64(other))
        return self._graph.add("Where", answer, np.float64(yes), np.float64(no))

    def _modulo(self, value: Value, divisor: float) -> Value:
        whole = self._floor(self._over(value, divisor))
        return self._minus(value, self._times(whole, divisor))

    def _plus(self, value: Value, number: float) -> Value:
        return self._graph.add("Add", value, np.float64(number))

    def _times(self, value: Value, number: float) -> Value:
        return self._graph.add("Mul", value, np.float64(number))

    def _over(self, value: Value, number: float) -> Value:
        return self._graph.add("Div", value, np.float64(number))

    def _minus(self, value: Value, other: Value) -> Value:
        return self._graph.add("Sub", value, other)

    def _floor(self, value: Value) -> Value:
        return self._graph.add("Floor", value)

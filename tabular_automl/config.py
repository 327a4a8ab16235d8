"""Settings of a fit beyond the few that `Predictor.fit` takes, and the named presets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import wraps
from numbers import Integral, Real
from typing import Any

from tabular_automl.core.cluster_names import parse_cluster
from tabular_automl.core.errors import InvalidOptionError, must_be, unknown_name
from tabular_automl.models.base import ModelSpec

_OPTIONAL_INTEGERS: Mapping[str, tuple[int, float]] = {
    "n_folds": (2, 50),
    "n_layers": (1, 3),
    "max_specs": (1, 10_000),
    "max_rows": (2, math.inf),
}


def check_integer(name: str, value: object, low: int, high: float = math.inf) -> None:
    """Raise unless ``value`` is an integer from ``low`` to ``high``.

    Raises
    ------
    InvalidOptionError
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        bounds = f"from {low} to {high}" if math.isfinite(high) else f"of at least {low}"
        raise InvalidOptionError(must_be(name, f"an integer {bounds}", value))


def check_milliseconds(name: str, value: object) -> None:
    """Raise unless ``value`` is a positive, finite number.

    Raises
    ------
    InvalidOptionError
    """
    _check_positive(name, value, "a positive number of milliseconds or None")


def check_error_cost(value: object) -> None:
    """Raise unless ``value`` is a positive share.

    Raises
    ------
    InvalidOptionError
    """
    _check_positive("max_error_cost", value, "a positive share, such as 0.01")


def _check_positive(name: str, value: object, expected: str) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise InvalidOptionError(must_be(name, expected, value))


def _check_n_jobs(value: object) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not (whole and (value == -1 or value > 0)):  # type: ignore[operator]
        raise InvalidOptionError(must_be("n_jobs", "a positive integer, -1 or None", value))


def _check_items(name: str, value: object, kind: type, expected: str) -> None:
    if not isinstance(value, (tuple, list)) or not all(isinstance(each, kind) for each in value):
        raise InvalidOptionError(must_be(name, expected, value))


def _naming_the_nearest(cls: Any) -> Any:
    """Let a dataclass refuse a misspelt field with the nearest names, and no bare TypeError."""
    init, known = cls.__init__, [each.name for each in fields(cls)]

    @wraps(init)
    def checked(self: object, *values: Any, **named: Any) -> None:
        for name in named:
            if name not in known:
                raise InvalidOptionError(unknown_name(f"field of {cls.__name__}", name, known))
        init(self, *values, **named)

    cls.__init__ = checked
    return cls


@_naming_the_nearest
@dataclass(frozen=True)
class FitConfig:
    """Everything about a fit that has a good default.

    Attributes
    ----------
    n_folds : int or None
        Folds of each bag, 2 to 50; None lets the plan choose by rows, columns, time and what
        answers: the folds' models or one of all rows. Where a column has the role "fold", that
        decides, and neither this nor ``holdout_fraction`` is looked at.
    holdout_fraction : float or None
        Validate on this fraction of the rows, between 0 and 0.9, instead of bagging, but on no more
        than 25,000 rows or 2 %, whichever is more, and where one of two classes is rare, on no less
        than 50 rows of it or a third of all; not looked at where ``n_folds`` is set, as
        ``"balanced"`` does. None lets the plan choose.
    n_layers : int or None
        Layers of the stack, 1 to 3; None lets the plan choose: mostly one, and a second of quick
        models where time is left under a time limit, which stays where it gains.
    families : tuple of str or None
        Use only these model families, or single specs by their keys on the leaderboard; None uses
        all of the library's, and those installed that read a column's texts or images.
    exclude : tuple of str
        Families or spec keys to leave out.
    specs : tuple of ModelSpec
        Specs of the user's own, tried first.
    max_specs : int or None
        Budget in trials: fit this many specs of the first layer and do not look at the clock unless
        there is a time limit too. On one machine the same seed then gives the same predictions,
        bit for bit, unless ``max_latency_ms`` or ``max_error_cost`` is set; which quick models are
        kept beside the ensemble, for `Predictor.prune`, depends on times.
    max_rows : int or None
        Make features of so many rows at most, drawn at random, of a rare class more than of others,
        which weights make up for. None: of as many as there is time and memory for, and of all in
        trials; a number above the table's rows makes them of all. Under a deadline, boosters learn
        from fewer still where they have no time for all.
    max_seconds_without_limit : float
        Time limit used when neither a time limit nor ``max_specs`` is given, for tables of up to
        50,000 rows; larger tables get proportionally more, six times as much at most.
    max_latency_ms : float or None
        Drop models from the ensemble until one compiled row is answered within so many
        milliseconds, and weigh the others anew. Measured on this machine, so that a second fit may
        drop others; where no ensemble is as fast, the fastest found is taken and a note says so.
    max_error_cost : float or None
        Drop models that are not worth the time they take to predict, or let a quick one answer
        that the ensemble does not ask, as long as the ensemble's
        out-of-fold error (its distance from the metric's optimum, or from the base rate's where it
        is nearer to that) grows by no more than this share, such as 0.01 for one percent, and weigh
        the others anew. The error is that of up to 5,000 rows, before that. Times are those of the
        leaderboard, ``predict_seconds``, so that a second fit may drop others. None: 0.001 under a
        deadline where 1,000 rows or more are validated, else 0: nothing is dropped. The preset
        ``"deploy"`` sets 0.05; without it, it is ``FitConfig(refit=True)``.
    refit : bool or None
        At the end, replace the models of a bag's folds by one of all rows, fitted on this machine,
        where time and memory allow: the predictor is smaller and answers faster. Asked for, such an
        ensemble has one layer. After a holdout it replaces the model of its training rows. None
        lets the plan choose: on tables of 1,000 rows or more, or in time order, without columns
        that models read raw, such as texts and images, unless a holdout is below a tenth of the
        rows; on a cluster only with ``max_specs`` and no time limit; not in the preset ``"fast"``.
    calibrate : bool
        Whether to calibrate probabilities on out-of-fold predictions.
    seed : int
        Seed of every random choice.
    n_jobs : int or None
        Cores to use; None or -1 uses all that this process may use.
    cluster : str or None
        Fit the folds on an existing cluster: ``"dask"`` or ``"ray"``, with an address behind a
        colon (``"dask:tcp://10.0.0.5:8786"``) unless this process is connected to it already.
        Needs the extra of the same name.
    on_error : {"skip", "raise"}
        What a failing spec does: become a row of the leaderboard with its cause, or raise.
    """

    n_folds: int | None = None
    holdout_fraction: float | None = None
    n_layers: int | None = None
    families: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    specs: tuple[ModelSpec, ...] = ()
    max_specs: int | None = None
    max_rows: int | None = None
    max_seconds_without_limit: float = 540.0
    max_latency_ms: float | None = None
    max_error_cost: float | None = None
    refit: bool | None = None
    calibrate: bool = True
    seed: int = 0
    n_jobs: int | None = None
    cluster: str | None = None
    on_error: str = "skip"

    def __post_init__(self) -> None:
        """Check every field, so that a mistake shows before any work."""
        self._check_amounts()
        self._check_models()
        if self.cluster is not None:
            parse_cluster(self.cluster)
        if self.refit not in (None, True, False):
            raise InvalidOptionError(must_be("refit", "True, False or None", self.refit))
        if self.refit and self.n_layers not in (None, 1):
            raise InvalidOptionError(
                must_be("n_layers", "1 or None with refit=True", self.n_layers)
            )
        if not isinstance(self.calibrate, bool):
            raise InvalidOptionError(must_be("calibrate", "True or False", self.calibrate))
        if self.on_error not in ("skip", "raise"):
            raise InvalidOptionError(must_be("on_error", "'skip' or 'raise'", self.on_error))

    def _check_amounts(self) -> None:
        for name, bounds in _OPTIONAL_INTEGERS.items():
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), *bounds)
        check_integer("seed", self.seed, 0, 2**31 - 1)
        _check_n_jobs(self.n_jobs)
        seconds = self.max_seconds_without_limit
        _check_positive("max_seconds_without_limit", seconds, "a positive number of seconds")
        if self.max_latency_ms is not None:
            check_milliseconds("max_latency_ms", self.max_latency_ms)
        cost = self.max_error_cost
        if cost is not None and (cost != 0 or isinstance(cost, bool)):
            expected = "a positive share, such as 0.01, or 0 or None"
            _check_positive("max_error_cost", cost, expected)
        fraction = self.holdout_fraction
        is_number = isinstance(fraction, Real) and not isinstance(fraction, bool)
        if fraction is not None and not (is_number and 0.0 < fraction < 0.9):
            raise InvalidOptionError(must_be("holdout_fraction", "between 0 and 0.9", fraction))

    def _check_models(self) -> None:
        if self.families is not None:
            _check_items("families", self.families, str, "a tuple of names or None")
        _check_items("exclude", self.exclude, str, "a tuple of names")
        expected = "a tuple of ModelSpec, such as ModelSpec.make('lightgbm')"
        _check_items("specs", self.specs, ModelSpec, expected)


PRESETS: Mapping[str, FitConfig] = {
    "fast": FitConfig(
        n_folds=None,
        holdout_fraction=0.15,
        n_layers=1,
        families=("lightgbm", "linear"),
        refit=False,
        max_seconds_without_limit=20.0,
    ),
    "balanced": FitConfig(n_folds=4, n_layers=1, max_seconds_without_limit=120.0),
    "best": FitConfig(),
    "deploy": FitConfig(refit=True, max_error_cost=0.05),
}


def resolve_config(preset: str, config: FitConfig | None) -> FitConfig:
    """Return the preset's settings with the fields that ``config`` changes from the defaults.

    Raises
    ------
    InvalidOptionError
        When there is no such preset, or ``config`` is something else than a `FitConfig`.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InvalidOptionError(unknown_name("preset", preset, PRESETS))
    if config is None:
        return PRESETS[preset]
    if not isinstance(config, FitConfig):
        raise InvalidOptionError(must_be("config", "a FitConfig", config))
    return replace(PRESETS[preset], **_changes(config))


def describe_settings(
    preset: str, time_limit: float | None, config: FitConfig | None
) -> dict[str, Any]:
    """Return what a fit was asked, as plain data that can be saved and read back.

    Returns
    -------
    dict
        ``presets`` and ``time_limit`` as they were given, the ``seed``, and under ``config`` the
        other fields of `FitConfig` that were changed; a spec is its family, key and params.
    """
    changes = {} if config is None else _changes(config)
    changes.pop("cluster", None)  # an address, which is nobody else's business
    return {
        "presets": preset,
        "time_limit": _plain(time_limit),
        "seed": _plain(changes.pop("seed", PRESETS[preset].seed)),
        "config": {name: _plain(value) for name, value in changes.items()},
    }


def _changes(config: FitConfig) -> dict[str, Any]:
    """Return the fields that differ from the defaults."""
    default = FitConfig()
    return {name: value for name, value in vars(config).items() if value != getattr(default, name)}


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, ModelSpec):
        params = {name: _plain(each) for name, each in value.params.to_dict().items()}
        return {"family": value.family, "key": value.key, "params": params}
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    return repr(value)  # of a plug-in: what cannot be saved must not cost a fit

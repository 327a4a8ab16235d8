"""Random hyperparameters, drawn from what a family declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from tabular_automl.core.params import Domain, Params

Drawn = TypeVar("Drawn", bound=Params)

_LEAVE_TO_DATA = 0.5  # chance that an optional hyperparameter stays None


def sample_params(
    params_type: type[Drawn],
    rng: np.random.Generator,
    *,
    fixed: Mapping[str, Any] | None = None,
) -> Drawn:
    """Draw every declared hyperparameter from its domain.

    Numbers are uniform between their bounds, on a logarithmic scale where their line says so;
    choices are equally likely; a hyperparameter that may be None stays None half of the time. One
    with an open bound keeps its default, since nothing says how far to go.

    Parameters
    ----------
    params_type : type
        A family's ``Params``.
    rng : numpy.random.Generator
    fixed : mapping of str to value, optional
        Hyperparameters that are not drawn, by name.

    Returns
    -------
    params : Params
        An instance of ``params_type``.

    Raises
    ------
    InvalidOptionError
        When ``fixed`` names an unknown hyperparameter or a value outside its domain.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from tabular_automl.core.params import param
    >>> @dataclass(frozen=True)
    ... class Tree(Params):
    ...     depth: int = param(6, 6, 6)
    >>> sample_params(Tree, np.random.default_rng(0))
    Tree(depth=6)
    """
    given = dict(fixed or {})
    # Every field is drawn, the fixed ones too, so that fixing one does not change the others.
    drawn = {name: _draw(domain, rng) for name, domain in params_type.domains().items()}
    values = {name: value for name, value in drawn.items() if value is not _DEFAULT}
    return params_type.from_dict({**values, **given})


_DEFAULT = object()


def _draw(domain: Domain, rng: np.random.Generator) -> Any:
    """Return a value of the domain, or `_DEFAULT` where the domain has no end."""
    if domain.optional and rng.random() < _LEAVE_TO_DATA:
        return None
    if domain.choices:
        return domain.choices[int(rng.integers(len(domain.choices)))]
    if domain.low is None or domain.high is None:
        return _DEFAULT
    return _draw_number(domain, domain.low, domain.high, rng)


def _draw_number(domain: Domain, low: float, high: float, rng: np.random.Generator) -> Any:
    # A whole number owns half a step on either side, so that both ends are drawn as often.
    margin = 0.5 if domain.integer else 0.0
    if domain.log and low > 0:
        first, last = math.log(low - margin), math.log(high + margin)
        value = math.exp(rng.uniform(first, last))
    elif domain.log:
        # Zero has no logarithm: step on the logarithm of one more.
        value = math.expm1(rng.uniform(math.log1p(low), math.log1p(high + margin)))
    else:
        value = float(rng.uniform(low - margin, high + margin))
    value = round(value) if domain.integer else value
    return type(value)(min(max(value, low), high))

"""Which of a table's rows a fit learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from tabular_automl.config import FitConfig
from tabular_automl.core.budget import Budget
from tabular_automl.core.parallel import Machine
from tabular_automl.data.drawing import draw_rows
from tabular_automl.data.folds import Folds, given_folds
from tabular_automl.data.schema import Schema
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.intake import Roles, Target, read_roles
from tabular_automl.metrics.resolve import takes_weight
from tabular_automl.plan import n_to_learn_from

_MOST_FEATURES_OF_A_COLUMN = 100  # those of texts
_ROWS_TO_COUNT_FEATURES = 2_000


@dataclass(frozen=True)
class LearnedRows:
    """The rows that a fit learns from: all that have a label, or some of them.

    Attributes
    ----------
    target : Target
    roles : Roles
    given : Folds or None
        The user's own.
    drawn : ndarray of int or None
        Positions among the rows that have a label, where these are not all.
    note : str or None
        For the user, where they are not all.
    """

    target: Target
    roles: Roles
    given: Folds | None
    drawn: npt.NDArray[np.intp] | None = None
    note: str | None = None

    @classmethod
    def all_of(cls, target: Target, schema: Schema) -> LearnedRows:
        """Return all rows.

        Raises
        ------
        MissingColumnsError, DataError
            When a column's role cannot be read.
        """
        roles = read_roles(schema, target.features)
        return cls(target, roles, _given(roles))

    def in_time(
        self,
        make_featurizer: Callable[[], Featurizer],
        asked: FitConfig,
        config: FitConfig,
        machine: Machine,
        budget: Budget,
    ) -> LearnedRows:
        """Return the rows for whose features there is time and memory, or that the settings ask.

        Parameters
        ----------
        make_featurizer : callable
            Returns a new featurizer of the table.
        asked, config : FitConfig
            What the user asked for, and that with the rows of the fit that is continued.
        machine : Machine
        budget : Budget
        """
        n_given = len(self.target.encoded)
        limit = budget.remaining() if budget.limited else None
        wanted = partial(n_to_learn_from, config, n_given, machine=machine, limit=limit)
        n_wanted = wanted(_MOST_FEATURES_OF_A_COLUMN * self.target.features.shape[1])
        if n_wanted < n_given and config.max_rows is None:
            n_wanted = wanted(self._count_features(make_featurizer(), config.seed))
        if n_wanted >= n_given:
            return self
        return self._draw(n_wanted, _reason(asked, config), config.seed)

    def without_features(self) -> LearnedRows:
        """Return the rows without their columns, for the time when their features are made."""
        target = replace(self.target, features=self.target.features.iloc[:0])
        return replace(self, target=target)

    def _count_features(self, featurizer: Featurizer, seed: int) -> int:
        """Return how many features a few of the rows are made into."""
        task, y = self.target.codec.task, self.target.encoded
        few = draw_rows(task, y, min(_ROWS_TO_COUNT_FEATURES, len(y) - 1), seed=seed)
        n_used = len(featurizer.schema.used)  # of which some are constant in so few rows
        made = featurizer.fit_transform(self.target.features.iloc[few.rows])
        return max(made.n_features, n_used)

    def _draw(self, n_wanted: int, reason: str, seed: int) -> LearnedRows:
        target = self.target
        is_small = self.given is not None and 2 * len(self.given.validated) <= n_wanted
        draw = draw_rows(
            target.codec.task,
            target.encoded,
            n_wanted,
            # A few rows of the user's own to validate on are what the ensemble is chosen by.
            kept=self.given.validated if self.given is not None and is_small else None,
            evenly=not takes_weight(target.metric),
            seed=seed,
        )
        roles = self.roles.of_draw(draw)
        note = f"{n_wanted:,d} of {len(target.encoded):,d} rows are drawn and learned from"
        return LearnedRows(
            target.of_rows(draw.rows), roles, _given(roles), draw.rows, f"{note}{reason}"
        )


def _given(roles: Roles) -> Folds | None:
    return None if roles.fold is None else given_folds(roles.fold)


def _reason(asked: FitConfig, config: FitConfig) -> str:
    """Return why not all rows are learned from, as the end of a sentence."""
    if asked.max_rows is not None:
        return ", as asked."
    if config.max_rows is not None:
        return (
            ", as in the fit that is continued; overwrite=True (--overwrite) starts anew, with as "
            "many as there is time for."
        )
    return ": for the features of more there is no time or memory (see FitConfig.max_rows)."

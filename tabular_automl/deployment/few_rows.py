"""The form in which a predictor answers few rows: joined bags, as far as they are soon made."""

from __future__ import annotations

import threading
from dataclasses import replace

from tabular_automl.fitted import FittedPipeline

MOST_ROWS = 8  # joined forms go through rows one by one, and of more the calls cost little
_MOST_SECONDS = 1.0  # for all bags


class FewRows:
    """Makes the form when few rows are asked for, and keeps it; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made_of: FittedPipeline | None = None
        self._form: FittedPipeline | None = None

    def __reduce__(self) -> tuple[type[FewRows], tuple[()]]:
        """Travel without the form: it is made again where it is needed."""
        return FewRows, ()

    def form_of(self, pipeline: FittedPipeline, n_rows: int) -> FittedPipeline:
        """Return the form of the pipeline that answers so many rows soonest."""
        if not 0 < n_rows <= MOST_ROWS:
            return pipeline
        with self._lock:
            if self._form is None or self._made_of is not pipeline:
                self._made_of, self._form = pipeline, quick_pipeline(pipeline)
            return self._form


def quick_pipeline(pipeline: FittedPipeline) -> FittedPipeline:
    """Return a pipeline that predicts equally, with fast bags where they are soon made.

    Those that take least are joined first; bags of later layers stay as they are.
    """
    from tabular_automl.deployment.compiled import probe_rows
    from tabular_automl.deployment.fast_bags import fast_bag, soon_joined

    first = [bag for bag in pipeline.stack.bags if bag.layer == 1]
    chosen = soon_joined(first, _MOST_SECONDS)
    if not chosen:
        return pipeline
    table = probe_rows(pipeline, chosen)
    fast = {bag.key: fast_bag(bag, table, 1) for bag in chosen}
    bags = [
        fast[bag.key] if bag.key in fast and fast[bag.key].joined is not None else bag
        for bag in pipeline.stack.bags
    ]
    return replace(pipeline, stack=replace(pipeline.stack, bags=tuple(bags)))

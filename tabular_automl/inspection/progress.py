"""Progress of a fit: plain lines for logs, a live display for terminals and notebooks."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

from tabular_automl.core.events import (
    EnsembleFinished,
    Event,
    FitFinished,
    FitStarted,
    Note,
    Reporter,
    SpecFinished,
    SpecSkipped,
    SpecStarted,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

RESULT, STEPS, EVERYTHING = 1, 2, 3

_KEY_WIDTH = 24
_FIGURE_WIDTH = 10
_REASON_WIDTH = 100
_N_WEIGHTS_SHOWN = 4


class Progress(AbstractContextManager["Progress"]):
    """A reporter that may hold a display open: leave the ``with`` block and the display is gone.

    The base class reports nothing.
    """

    def __call__(self, event: Event) -> None:
        """Report one event."""

    def close(self) -> None:
        """Give back what the display holds; harmless when called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ForwardingProgress(Progress):
    """Passes events on to a reporter of the user's own."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def __call__(self, event: Event) -> None:
        """Report one event."""
        self._reporter(event)

    def close(self) -> None:
        """Close the user's reporter, if it can be closed."""
        close = getattr(self._reporter, "close", None)
        if close is not None:
            close()


class _UntilBroken:
    """A stream that is silent from the first text on that it cannot take.

    Whoever reads the progress may leave, as head does, and the disk of a log may be full: neither
    is to end a fit. Rich would end the program at a closed pipe.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_silent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, if texts can still be written."""
        self._attempt(partial(self._stream.write, text))
        return len(text)

    def flush(self) -> None:
        """Let what was written be seen, if it still can."""
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self._is_silent:
            return
        try:
            action()
        except (OSError, ValueError):  # the second of a closed stream
            self._is_silent = True


class LineProgress(Progress):
    """Writes a line for each event worth one.

    Parameters
    ----------
    verbosity : {1, 2, 3}
    stream : text file
    """

    def __init__(self, verbosity: int, stream: IO[str]) -> None:
        self._story = Story(verbosity)
        self._stream = _UntilBroken(stream)

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        line = self._story.tell(event)
        if line is not None:
            self._stream.write(line + "\n")
            self._stream.flush()


class LiveProgress(Progress):
    """Writes the same lines above one live line: what runs, the best score, the time left.

    Parameters
    ----------
    verbosity : {2, 3}
    stream : text file
        A terminal, or anything in a notebook.
    """

    def __init__(self, verbosity: int, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._story = Story(verbosity)
        self._console = Console(file=cast(IO[str], _UntilBroken(stream)), highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
        )

    def __call__(self, event: Event) -> None:
        """Write the event's line and move the live line on."""
        line = self._story.tell(event)
        if isinstance(event, FitFinished):
            self.close()
        if line is not None:
            self._console.print(line, markup=False, soft_wrap=True)
        if isinstance(event, FitStarted):
            self._live.start()

    def close(self) -> None:
        """Erase the live line."""
        self._live.stop()

    def _render(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        story = self._story
        row = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [Spinner("dots"), Text(story.headline(), overflow="ellipsis")]
        if story.time_limit:
            spent = min(story.seconds(), story.time_limit)
            cells.append(ProgressBar(total=story.time_limit, completed=spent, width=20))
            cells.append(Text(f"{story.time_limit - spent:.0f} s left"))
        else:
            cells.append(Text(f"{story.seconds():.0f} s"))
        for _ in cells:
            row.add_column(no_wrap=True)
        row.add_row(*cells)
        return row


@dataclass
class Story:
    """What has happened in a fit so far, and the words for what happens next.

    Attributes
    ----------
    verbosity : {1, 2, 3}
    """

    verbosity: int
    metric: str = "score"
    greater_is_better: bool = True
    time_limit: float | None = None
    n_specs: int = 0
    n_done: int = 0
    running: str = ""
    best_score: float | None = None
    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Return the seconds since the story began."""
        return time.monotonic() - self.started

    def tell(self, event: Event) -> str | None:
        """Take the event in; return its line, None when the verbosity leaves it out."""
        needed, line = self._line(event)
        return line if self.verbosity >= needed else None

    def headline(self) -> str:
        """Return what happens now, in a few words."""
        parts = [self.running or "preparing", f"{self.n_done}/{self.n_specs} models"]
        if self.best_score is not None:
            parts.append(f"best {self._figure(self.best_score)}")
        return " · ".join(parts)

    def _line(self, event: Event) -> tuple[int, str]:
        """Return the verbosity that an event needs, and its line."""
        match event:
            case Note(text=text):
                return RESULT, text
            case FitStarted():
                return STEPS, self._on_start(event)
            case SpecStarted():
                return EVERYTHING, self._on_spec_start(event)
            case SpecFinished():
                return STEPS, self._on_spec(event)
            case SpecSkipped():
                return (RESULT if event.failed else STEPS), self._on_skip(event)
            case EnsembleFinished():
                return STEPS, self._on_ensemble(event)
            case FitFinished():
                return RESULT, self._on_finish(event)
            case _:
                return EVERYTHING, str(event)

    def _on_start(self, event: FitStarted) -> str:
        self.metric, self.greater_is_better = event.metric, event.greater_is_better
        self.time_limit = event.time_limit
        self.n_specs = event.n_specs
        return event.summary

    def _on_spec_start(self, event: SpecStarted) -> str:
        self.running = event.key if event.layer <= 1 else f"{event.key} (layer {event.layer})"
        self.n_specs = max(self.n_specs, event.n_specs)
        left = "" if event.seconds_left == float("inf") else f", {event.seconds_left:.0f} s left"
        return f"{self._counter(self.n_done + 1)} {self.running} starts{left}"

    def _on_spec(self, event: SpecFinished) -> str:
        self.n_done += 1
        self.best_score = event.best_score
        mark = "*" if event.score >= event.best_score else " "
        name = self._name(event.key, event.layer)
        figure = self._figure(event.score, _FIGURE_WIDTH)
        return f"{self._counter(self.n_done)} {name} {figure} {mark} {event.fit_seconds:7.1f} s"

    def _on_skip(self, event: SpecSkipped) -> str:
        self.n_done += 1
        reason = event.reason
        if self.verbosity < EVERYTHING:
            reason = _shorten(reason)
        verb = "failed" if event.failed else "skipped"
        return f"{self._counter(self.n_done)} {self._name(event.key, event.layer)} {verb}: {reason}"

    def _on_ensemble(self, event: EnsembleFinished) -> str:
        self.best_score, self.running = event.score, "saving"
        ranked = sorted(event.weights, key=lambda pair: -pair[1])
        shown = ranked if self.verbosity >= EVERYTHING else ranked[:_N_WEIGHTS_SHOWN]
        recipe = " + ".join(f"{weight:.2f} {key}" for key, weight in shown)
        if len(shown) < len(ranked):
            recipe += f" + {len(ranked) - len(shown)} more"
        return f"Ensemble: {self._figure(event.score)} = {recipe}"

    def _on_finish(self, event: FitFinished) -> str:
        saved = f", saved to {event.path}" if event.path is not None else ""
        figure = self._figure(event.score)
        return f"Done in {event.fit_seconds:.1f} s: validation {figure}{saved}"

    def _counter(self, position: int) -> str:
        total = max(self.n_specs, position)
        return f"[{position:>{len(str(total))}}/{total}]"

    def _name(self, key: str, layer: int) -> str:
        return f"{key if layer <= 1 else f'{key} (layer {layer})':<{_KEY_WIDTH}}"

    def _figure(self, score: float, width: int = 0) -> str:
        """Return the metric's name and the figure in the metric's own direction."""
        figure = score if self.greater_is_better else -score
        return f"{self.metric} {_format(figure + 0.0):>{width}}"


def make_reporter(
    verbosity: int, stream: IO[str] | None = None, *, reporter: Reporter | None = None
) -> Progress:
    """Return the reporter for a verbosity, to be used in a ``with`` block.

    Parameters
    ----------
    verbosity : {0, 1, 2, 3}
        0 is silent; 1 tells notes, failures and the result; 2 a line for each model too, under a
        live line where the stream is a terminal or a notebook; 3 everything.
    stream : text file, optional
        Defaults to standard error, in notebooks to standard output; programs without a console
        have neither, and then nothing is told. Once it cannot be written to, the rest is silence.
    reporter : callable, optional
        The user's own, which replaces the built-in ones whatever the verbosity.
    """
    if reporter is not None:
        return ForwardingProgress(reporter)
    notebook = _in_notebook()
    target: Any = stream if stream is not None else (sys.stdout if notebook else sys.stderr)
    if verbosity <= 0 or target is None:
        return Progress()
    live = _shows_widgets() if notebook and stream is None else _is_terminal(target)
    return (
        LiveProgress(verbosity, target)
        if live and verbosity >= STEPS
        else LineProgress(verbosity, target)
    )


def _format(figure: float) -> str:
    """Return a figure in at most ten characters: four decimals for usual sizes."""
    usual = figure == 0.0 or 1e-3 <= abs(figure) < 1e5
    return f"{figure:.4f}" if usual else f"{figure:.3e}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_WIDTH else line[: _REASON_WIDTH - 1] + "…"


def _is_terminal(stream: IO[str]) -> bool:
    isatty = getattr(stream, "isatty", None)
    is_open = not getattr(stream, "closed", False)
    return bool(isatty is not None and is_open and isatty())


def _in_notebook() -> bool:
    """Return whether an IPython kernel runs this process, without importing IPython."""
    shell = sys.modules.get("IPython")
    current = shell.get_ipython() if shell is not None else None
    return type(current).__name__ == "ZMQInteractiveShell"


def _shows_widgets() -> bool:
    """Return whether the notebook can show rich's live display, which asks for ipywidgets."""
    return importlib.util.find_spec("ipywidgets") is not None

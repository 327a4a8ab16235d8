from __future__ import annotations

import io
import subprocess
import sys
import types

import pytest

from tabular_automl.core.events import (
    EnsembleFinished,
    Event,
    FitFinished,
    FitStarted,
    Note,
    SpecFinished,
    SpecSkipped,
    SpecStarted,
)
from tabular_automl.inspection.progress import (
    LineProgress,
    LiveProgress,
    make_reporter,
)

FIT: tuple[Event, ...] = (
    Note("3 rows without a label were dropped."),
    FitStarted("455 rows, 30 columns: binary, 5 folds.", 3, "roc_auc", 60.0),
    SpecStarted("lightgbm", 1, 1, 3, 59.0),
    SpecFinished("lightgbm", 1, 0.98765, 0.98765, 1.23),
    SpecStarted("extra_trees", 1, 2, 3, 57.0),
    SpecFinished("extra_trees", 1, 0.95, 0.98765, 12.3),
    SpecStarted("neural", 2, 3, 3, 40.0),
    SpecSkipped("neural", 2, "ValueError: no luck", True),
    EnsembleFinished(0.99, (("lightgbm", 0.25), ("extra_trees", 0.75))),
    FitFinished(0.99, 20.5, "model"),
)


TOY_LOSS = FitStarted("", 1, "toy_loss", None, greater_is_better=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(verbosity: int, events: tuple[Event, ...] = FIT) -> list[str]:
    stream = io.StringIO()
    with make_reporter(verbosity, stream) as report:
        for event in events:
            report(event)
    return stream.getvalue().splitlines()


def test_verbosity_0_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with make_reporter(0) as report:
        for event in FIT:
            report(event)
    assert capsys.readouterr() == ("", "")


def test_verbosity_1_tells_notes_failures_and_the_result() -> None:
    assert told(1) == [
        "3 rows without a label were dropped.",
        "[3/3] neural (layer 2)         failed: ValueError: no luck",
        "Done in 20.5 s: validation roc_auc 0.9900, saved to model",
    ]


def test_verbosity_2_writes_an_aligned_line_for_each_model_to_a_log() -> None:
    assert told(2) == [
        "3 rows without a label were dropped.",
        "455 rows, 30 columns: binary, 5 folds.",
        "[1/3] lightgbm                 roc_auc     0.9877 *     1.2 s",
        "[2/3] extra_trees              roc_auc     0.9500      12.3 s",
        "[3/3] neural (layer 2)         failed: ValueError: no luck",
        "Ensemble: roc_auc 0.9900 = 0.75 extra_trees + 0.25 lightgbm",
        "Done in 20.5 s: validation roc_auc 0.9900, saved to model",
    ]


def test_verbosity_3_tells_when_a_model_starts_and_the_whole_reason() -> None:
    reason = "because " * 30
    lines = told(3, (*FIT[:3], SpecSkipped("lightgbm", 1, reason, False)))
    assert lines[2] == "[1/3] lightgbm starts, 59 s left"
    assert lines[3].endswith(reason)
    assert told(2, (SpecSkipped("lightgbm", 1, reason, False),))[0].endswith("…")


def test_a_loss_is_shown_in_its_own_direction() -> None:
    lines = told(
        2,
        (
            TOY_LOSS,
            SpecFinished("linear", 1, -0.25, -0.25, 1.0),
            FitFinished(-0.25, 1.0, None),
        ),
    )
    assert "toy_loss     0.2500 *" in lines[1]
    assert lines[2] == "Done in 1.0 s: validation toy_loss 0.2500"


def test_a_perfect_loss_is_not_minus_zero() -> None:
    lines = told(1, (TOY_LOSS, FitFinished(0.0, 1.0, None)))
    assert lines == ["Done in 1.0 s: validation toy_loss 0.0000"]


def test_figures_of_unusual_size_keep_their_digits() -> None:
    lines = told(2, (SpecFinished("linear", 1, 1.234e-7, 1.0, 1.0),))
    assert "1.234e-07" in lines[0]


def test_long_recipes_name_the_heaviest_models() -> None:
    weights = tuple((f"m{i}", i / 21) for i in range(1, 7))
    line = told(2, (EnsembleFinished(0.5, weights),))[0]
    assert line.endswith("= 0.29 m6 + 0.24 m5 + 0.19 m4 + 0.14 m3 + 2 more")


def test_a_terminal_gets_the_live_line_and_keeps_the_same_lines() -> None:
    stream = Terminal()
    reporter = make_reporter(2, stream)
    assert isinstance(reporter, LiveProgress)
    with reporter as report:
        for event in FIT:
            report(event)
    text = stream.getvalue()
    for line in told(2):
        assert line in text


def test_the_live_line_says_what_runs_the_best_score_and_the_time_left() -> None:
    from rich.console import Console

    reporter = LiveProgress(2, Terminal())
    with reporter as report:
        for event in FIT[:5]:
            report(event)
        console = Console(file=io.StringIO(), width=120)
        console.print(reporter._render())
        shown = console.file.getvalue()
    assert "extra_trees · 1/3 models · best roc_auc 0.9877" in shown
    assert "s left" in shown


def test_nothing_is_written_after_an_exception() -> None:
    stream = Terminal()
    reporter = make_reporter(2, stream)

    def interrupted_fit() -> None:
        with reporter as report:
            for event in FIT[:4]:
                report(event)
            raise KeyboardInterrupt("by hand")

    with pytest.raises(KeyboardInterrupt, match="by hand"):
        interrupted_fit()
    assert not reporter._live.is_started
    written = stream.getvalue()
    assert "\x1b[?25h" in written  # the cursor is back
    reporter.close()
    assert stream.getvalue() == written


def test_model_names_are_no_markup() -> None:
    stream = Terminal()
    with make_reporter(2, stream) as report:
        report(SpecFinished("[red]mine[/red]", 1, 0.5, 0.5, 1.0))
    assert "[red]mine[/red]" in stream.getvalue()


def test_the_users_reporter_takes_the_events_and_is_closed() -> None:
    class Mine:
        def __init__(self) -> None:
            self.events: list[Event] = []
            self.closed = False

        def __call__(self, event: Event) -> None:
            self.events.append(event)

        def close(self) -> None:
            self.closed = True

    mine = Mine()
    with make_reporter(0, reporter=mine) as report:
        report(FIT[0])
    assert mine.events == [FIT[0]]
    assert mine.closed
    plain: list[Event] = []
    with make_reporter(0, reporter=plain.append) as report:
        report(FIT[0])
    assert plain == [FIT[0]]


def test_logs_default_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    make_reporter(1)(Note("hello"))
    assert capsys.readouterr() == ("", "hello\n")


def test_notebooks_without_widgets_get_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ZMQInteractiveShell:
        pass

    shell = types.SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setattr("tabular_automl.inspection.progress._shows_widgets", lambda: False)
    reporter = make_reporter(2)
    assert isinstance(reporter, LineProgress)
    reporter(Note("hello"))
    assert capsys.readouterr() == ("hello\n", "")


class Broken(Terminal):
    """A stream whose reader leaves after some texts."""

    def __init__(self, error: Exception, n_taken: int) -> None:
        super().__init__()
        self.error, self.n_left = error, n_taken

    def write(self, text: str) -> int:
        self.n_left -= 1
        if self.n_left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
@pytest.mark.parametrize("kind", [LineProgress, LiveProgress])
def test_a_stream_that_takes_no_more_ends_the_progress_and_not_the_fit(
    error: Exception, kind: type[LineProgress | LiveProgress]
) -> None:
    stream = Broken(error, n_taken=2)
    with kind(2, stream) as report:
        for event in FIT:
            report(event)
        stream.n_left = 100
        report(FIT[0])
    assert stream.n_left == 100  # silent from then on


@pytest.mark.parametrize("verbosity", [1, 2])
def test_a_program_without_a_console_is_told_nothing(
    verbosity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with make_reporter(verbosity) as report:
        report(FIT[0])
    closed = io.StringIO()
    closed.close()
    with make_reporter(verbosity, closed) as report:
        report(FIT[0])


def test_rich_is_imported_only_for_a_live_display() -> None:
    code = (
        "import sys, io; from tabular_automl.inspection.progress import make_reporter;"
        "make_reporter(2, io.StringIO()); assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

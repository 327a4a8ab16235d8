import pytest

from tabular_automl.core import errors
from tabular_automl.core.errors import AutoMLError, must_be, unknown_name


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidOptionError, ValueError),
        (errors.DataError, ValueError),
        (errors.LabelError, errors.DataError),
        (errors.MissingColumnsError, errors.DataError),
        (errors.PathError, OSError),
        (errors.MissingDependencyError, ImportError),
        (errors.OutOfTimeError, TimeoutError),
        (errors.OutOfMemoryError, MemoryError),
        (errors.NotFittedError, AutoMLError),
        (errors.ArtifactError, AutoMLError),
    ],
)
def test_errors_are_caught_as_ours_and_as_the_builtin(error, builtin):
    for caught_as in (AutoMLError, builtin):
        with pytest.raises(caught_as, match="what to do"):
            raise error("what to do")


def test_a_wrong_value_is_shown_beside_what_was_expected():
    assert must_be("depth", "an integer", "3") == "depth must be an integer, got '3'."


def test_an_unknown_name_is_shown_with_its_nearest_and_all_known():
    sentence = unknown_name("metric", "acuracy", ["log_loss", "accuracy"])
    assert sentence == (
        "Unknown metric 'acuracy'. Did you mean 'accuracy'? Known: accuracy, log_loss."
    )


def test_a_guess_that_is_no_text_is_told_apart_from_text():
    assert unknown_name("column", "1", [1, "x"]) == (
        "Unknown column '1'. Did you mean 1? Known: 1, x."
    )
    assert "Unknown column 1. Did you mean '1'?" in unknown_name("column", 1, ["1", "x"])
    assert "Did you mean ('a', 1)?" in unknown_name("column", "('a', 1)", [("a", 1)])


def test_a_name_like_no_other_gets_no_guess():
    assert unknown_name("metric", "zzz", ["log_loss"]) == "Unknown metric 'zzz'. Known: log_loss."
    assert "Unknown metric 5." in unknown_name("metric", 5, ["log_loss"])


def test_of_many_known_names_only_the_nearest_are_listed():
    known = [f"column{number}" for number in range(300)]
    sentence = unknown_name("column", "colum7", known)
    assert "Did you mean 'column7'" in sentence
    assert sentence.endswith(" and 295 more.")
    assert len(sentence) < 200
    assert sentence.count("column") == 9  # the kind, the three of the guess and the nearest five
    assert "more" not in unknown_name("column", "colum7", known[:20])

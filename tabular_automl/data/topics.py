"""Names of the features of texts, by which networks and linear models know them."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A name that came twice has a number behind it.
_TOPIC = re.compile(r"(?P<column>.*):topic\d+(?: \(\d+\))?", re.DOTALL)
_WORD = re.compile(r".*:'.+'(?: \(\d+\))?", re.DOTALL)


def topic_name(column: str, number: int) -> str:
    """Return the name of one of a column's topics."""
    return f"{column}:topic{number}"


def word_name(column: str, word: str) -> str:
    """Return the name of the feature that tells whether a column's text has a word."""
    return f"{column}:'{word}'"


def names_word(name: str) -> bool:
    """Return whether a feature tells of a word."""
    return _WORD.fullmatch(name) is not None


def topic_blocks(names: Sequence[str]) -> list[list[int]]:
    """Return the positions of each column's topics among the features."""
    blocks: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        match = _TOPIC.fullmatch(name)
        if match is not None:
            blocks.setdefault(match["column"], []).append(position)
    return list(blocks.values())

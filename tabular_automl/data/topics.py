"""Names of the features that say together what a text is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A name that came twice has a number behind it.
_TOPIC = re.compile(r"(?P<column>.*):topic\d+(?: \(\d+\))?", re.DOTALL)


def topic_name(column: str, number: int) -> str:
    """Return the name of one of a column's topics."""
    return f"{column}:topic{number}"


def topic_blocks(names: Sequence[str]) -> list[list[int]]:
    """Return the positions of each column's topics among the features."""
    blocks: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        match = _TOPIC.fullmatch(name)
        if match is not None:
            blocks.setdefault(match["column"], []).append(position)
    return list(blocks.values())

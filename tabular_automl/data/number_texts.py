"""Numbers as people write them: digit groups, currencies, per cent, a decimal comma."""

from __future__ import annotations

import re
from collections.abc import Sequence

MARKS = (".", ",")
_CURRENCY = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
_NUMBER = {
    ".": r"(?:\d{1,3}(?:[ ,'\u2019\u00a0\u202f]\d{3})+(?:\.\d*)?|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)",
    ",": r"(?:\d{1,3}(?:[ .'\u2019\u00a0\u202f]\d{3})+(?:,\d*)?|\d+,?\d*(?:[eE][+-]?\d+)?|,\d+)",
}
_SHAPE = {
    mark: re.compile(
        rf"(?P<open>\()?(?P<sign>[-+\u2212])?\s*{_CURRENCY}?\s*(?P<inner>[-+\u2212])?(?P<number>{number})"
        rf"\s*(?:%|{_CURRENCY})?(?(open)\))$"
    )
    for mark, number in _NUMBER.items()
}
_GROUP_MARKS = str.maketrans("", "", " '\u2019\u00a0\u202f")
_GROUPED = re.compile(r"\s*[-+]?\d{1,3}(?:\.\d{3})+\s*$")  # 1.234 where the decimal mark is a comma
_FRACTION = re.compile(r"(?<![\d.,])0,\d")


def parse_number(text: str, mark: str = ".") -> float | None:
    """Return the number a text holds, or None.

    Reads surrounding spaces, digit groups, currency signs, per cent signs (``"12%"`` is 12),
    exponents and negative numbers in parentheses. ``mark`` is the decimal mark, "." or ",".
    """
    # Python's own numbers may have "_" in them: in data that is a code of two parts.
    if "_" not in text and (mark == "." or not ("," in text or _GROUPED.match(text))):
        try:
            number = float(text)
        except ValueError:
            pass
        else:
            return number if number == number else None
    match = _SHAPE[mark].match(text.strip())
    if match is None:
        return None
    digits = match["number"].translate(_GROUP_MARKS)
    digits = digits.replace(",", "") if mark == "." else digits.replace(".", "").replace(",", ".")
    negative = match["open"] is not None or "-" in _signs(match) or "\u2212" in _signs(match)
    return -float(digits) if negative else float(digits)


def _signs(match: re.Match[str]) -> str:
    return (match["sign"] or "") + (match["inner"] or "")


def decimal_mark(keys: Sequence[str]) -> str:
    """Return the decimal mark that reads more of the texts.

    When both read as many it is "."; but where a number begins with "0,", that sets no group apart.
    """
    if not any("," in key for key in keys):
        return "."
    readable = {mark: sum(parse_number(key, mark) is not None for key in keys) for mark in MARKS}
    if any(_FRACTION.search(key) for key in keys):
        return "," if readable[","] >= readable["."] else "."
    return "," if readable[","] > readable["."] else "."

"""Numbers as people write them: digit groups, currencies, per cent, a decimal comma."""

from __future__ import annotations

import re
from collections.abc import Sequence

MARKS = (".", ",")
_CURRENCY = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF)"
_NUMBER = {
    ".": (
        r"(?:\d{1,3}(?:[ ,'\u2019\u00a0\u202f]\d{3})+(?:\.\d*)?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d*)?"
        r"|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)"
    ),
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
# Readable in both ways, but no group of digits comes after a 0, nor a second decimal mark.
_OF_COMMA = re.compile(r"(?<![\d.,])0,\d{3}(?!\d)|\d\.\d{3}\.\d{3}")
_OF_POINT = re.compile(r"(?<![\d.,])0\.\d")
_POINT_GROUPS = re.compile(r"(?<!\d)\d{1,3}(?:\.\d{3})+(?!\d)")
_FAIR_SHARE = 0.1


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


def decimal_mark(texts: Sequence[str]) -> str:
    """Return the decimal mark that more of the texts speak for, "." where as many do.

    "1,5" and "1.234.567" speak for a comma, "1.5" and "1,234,567" for a point; "1,234" may be of
    either. A comma needs a fair share of the texts that have one, since one mistyped text must not
    divide all others by a thousand; but "0,125" and "1.234.567" are not mistyped.
    """
    speaking = [text for text in texts if _speaks_for_comma(text)]
    if not speaking:
        return "."
    n_commas = sum("," in text for text in texts)
    is_fair = len(speaking) >= _FAIR_SHARE * n_commas or any(map(_OF_COMMA.search, speaking))
    return "," if is_fair and len(speaking) > sum(map(_speaks_for_point, texts)) else "."


def _speaks_for_comma(text: str) -> bool:
    if "," not in text and text.count(".") < 2:
        return False
    told = _OF_COMMA.search(text) is not None
    if not (told or "," in text) or parse_number(text, ",") is None:
        return False
    return told or parse_number(text, ".") is None


def _speaks_for_point(text: str) -> bool:
    if not ("." in text or "," in text) or parse_number(text, ".") is None:
        return False
    if parse_number(text, ",") is None or _OF_POINT.search(text):
        return True
    return "," not in text and not _POINT_GROUPS.search(text)

"""The formats in which people write dates and times, and how one is told from another."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.encoders.storage import is_na_token

DATE = "%Y%m%d"
ISO = "ISO8601"
# Largest share of texts that may be no dates in a column of dates.
MAX_UNREAD = 0.05
EPOCHS = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
}
_EPOCH_RANGE = (631_152_000.0, 2_524_608_000.0)  # 1990 to 2050, in seconds
_MAX_LENGTH = 45
_PROBES = 12

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = (
    r"(?P<gap>,? +(?:at )?|[T_ ])?(?P<time>\d{1,2}:\d{2}(?P<sec>:\d{2})?(?P<frac>[.,]\d{1,9})?"
    r"(?P<ampm> ?[AaPp]\.?[Mm]\.?)?)(?P<zone> ?(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
)
# Date shapes, each with the formats it may stand for, most usual first. "{s}" is the separator.
_SHAPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\d{4}(?P<s>[-/.])\d{1,2}(?P=s)\d{1,2}", ("%Y{s}%m{s}%d", "%Y{s}%d{s}%m")),
    (r"\d{1,2}(?P<s>[/])\d{1,2}(?P=s)\d{4}", ("%m{s}%d{s}%Y", "%d{s}%m{s}%Y")),
    (r"\d{1,2}(?P<s>[-.])\d{1,2}(?P=s)\d{4}", ("%d{s}%m{s}%Y", "%m{s}%d{s}%Y")),
    (r"\d{1,2}(?P<s>[/])\d{1,2}(?P=s)\d{2}", ("%m{s}%d{s}%y", "%d{s}%m{s}%y")),
    (r"\d{1,2}(?P<s>[-.])\d{1,2}(?P=s)\d{2}", ("%d{s}%m{s}%y", "%m{s}%d{s}%y", "%y{s}%m{s}%d")),
    (rf"\d{{1,2}}(?P<s>[- /]){_MONTH}(?P=s)\d{{4}}", ("%d{s}%b{s}%Y", "%d{s}%B{s}%Y")),
    (rf"\d{{1,2}}(?P<s>[- /]){_MONTH}(?P=s)\d{{2}}", ("%d{s}%b{s}%y", "%d{s}%B{s}%y")),
    (rf"{_MONTH} \d{{1,2}}(?P<c>,?) \d{{4}}", ("%b %d{c} %Y", "%B %d{c} %Y")),
    (rf"[a-z]{{3}}, \d{{1,2}} {_MONTH} \d{{4}}", ("%a, %d %b %Y", "%a, %d %B %Y")),
    (rf"[a-z]{{6,9}}, {_MONTH} \d{{1,2}}, \d{{4}}", ("%A, %B %d, %Y", "%A, %b %d, %Y")),
    (rf"{_MONTH}(?P<s>[- /])\d{{4}}", ("%b{s}%Y", "%B{s}%Y")),
    (rf"\d{{4}}(?P<s>[- /]){_MONTH}", ("%Y{s}%b", "%Y{s}%B")),
    (r"(?:19|20)\d{2}(?P<s>[-/])\d{1,2}", ("%Y{s}%m",)),
    (r"\d{1,2}(?P<s>[-/])(?:19|20)\d{2}", ("%m{s}%Y",)),
    (r"(?:19|20)\d{2}[01]\d[0-3]\d", (DATE,)),
)
_COMPILED = tuple((re.compile(shape, re.I), formats) for shape, formats in _SHAPES)
_TIME_PATTERN = re.compile(_TIME + "$")


def epoch_unit(low: float, high: float) -> str | None:
    """Return the unit in which numbers between ``low`` and ``high`` count from 1970, or None."""
    for unit, per_second in {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}.items():
        if low >= _EPOCH_RANGE[0] * per_second and high <= _EPOCH_RANGE[1] * per_second:
            return unit
    return None


def choose_formats(texts: list[str]) -> list[str]:
    """Return the formats that read the texts, the best first; empty when these are no dates.

    Candidates come from the shapes of a few texts spread over the list; the one that reads most of
    all texts wins, and more are added while they read more than one text in a hundred.
    """
    candidates = _candidates([text for text in texts if not is_na_token(text)])
    if not candidates:
        return []
    read = {name: ~np.isnan(parse_texts(texts, [name])) for name in candidates}
    chosen: list[str] = []
    done = np.zeros(len(texts), dtype=bool)
    while candidates:
        gains = {name: int((read[name] & ~done).sum()) for name in candidates}
        best = max(gains.values())
        if best == 0 or best < 0.01 * len(texts):
            break
        tied = [name for name in candidates if gains[name] == best]
        chosen.append(_varying_least(texts, tied))
        done |= read[chosen[-1]]
        candidates = [name for name in candidates if name not in chosen]
    return chosen


def parse_texts(texts: list[str], formats: list[str]) -> npt.NDArray[np.float64]:
    """Return each text as seconds since 1970 UTC by the first format that reads it, else NaN."""
    seconds = np.full(len(texts), np.nan)
    values = np.array(texts, dtype=object)
    for name in formats:
        left = np.flatnonzero(np.isnan(seconds))
        if not len(left):
            break
        seconds[left] = _parse(values[left], name)
    return seconds


def _parse(values: npt.NDArray[np.object_], name: str) -> npt.NDArray[np.float64]:
    utc = name == ISO or name.endswith("%z")
    parsed = pd.to_datetime(pd.Series(values), format=name, errors="coerce", utc=utc)
    instants = parsed.to_numpy(dtype="datetime64[us]")
    seconds = np.where(np.isnat(instants), np.nan, instants.astype(np.int64) / 1e6)
    if "%d" not in name and "%m" not in name and "%b" not in name.lower() and name != ISO:
        return seconds % 86_400.0  # a time of day: counted from 1970-01-01
    return seconds


def _candidates(texts: list[str]) -> list[str]:
    """Return the formats that some of the texts may have, without repeats."""
    found: dict[str, None] = {}
    step = max(1, len(texts) // _PROBES)
    for text in texts[::step]:
        if len(text) <= _MAX_LENGTH and any(c.isdigit() for c in text):
            found.update(dict.fromkeys(_formats_of(text)))
    return list(found)


def _formats_of(text: str) -> list[str]:
    """Return the formats that one text may have."""
    for pattern, formats in _COMPILED:
        match = pattern.match(text)
        if match is None:
            continue
        time_format = _time_format(text[match.end() :])
        if time_format is None:
            continue
        if match.group(0)[:4].isdigit() and "-" in match.group(0)[:5] and "%d" in formats[0]:
            is_iso = not np.isnan(parse_texts([text], [ISO])[0])
            return [ISO if is_iso else formats[0].format(s="-") + time_format]
        marks = match.groupdict()
        filled = (f.format(s=marks.get("s", ""), c=marks.get("c", "")) for f in formats)
        return [date + time_format for date in filled]
    time_format = _time_format(text)
    return [time_format] if time_format else []


def _time_format(rest: str) -> str | None:
    """Return the format of what follows a date; "" for nothing, None when it is no time."""
    if not rest:
        return ""
    match = _TIME_PATTERN.match(rest)
    if match is None:
        return None
    hour, suffix = "%H", ""
    if match["ampm"]:
        hour, suffix = "%I", match["ampm"].replace(match["ampm"].strip(), "%p")
    zone = match["zone"] or ""
    is_offset = zone.strip() == "Z" or zone[-1:].isdigit()
    zone_format = zone.replace(zone.strip(), "%z") if is_offset else zone
    seconds = (":%S" if match["sec"] else "") + (f"{match['frac'][0]}%f" if match["frac"] else "")
    return f"{match['gap'] or ''}{hour}:%M{seconds}{suffix}{zone_format}"


def _varying_least(texts: list[str], tied: list[str]) -> str:
    """Return the format, of those that read as many texts, with the fewest years, then days.

    A day of the month that is taken for a year makes as many years as there are days.
    """
    if len(tied) == 1 or len(texts) < 3:
        return tied[0]
    return min(tied, key=lambda name: _n_years_and_days(parse_texts(texts, [name])))


def _n_years_and_days(seconds: npt.NDArray[np.float64]) -> tuple[int, int]:
    known = seconds[~np.isnan(seconds)]
    dates = np.floor(known / 86_400.0).astype(np.int64).astype("datetime64[D]")
    days = (dates - dates.astype("datetime64[M]")).astype(np.int64)
    return len(np.unique(dates.astype("datetime64[Y]"))), len(np.unique(days))

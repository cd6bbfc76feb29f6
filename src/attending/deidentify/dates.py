"""Dates as people write them."""

from __future__ import annotations

import re
from datetime import date

SHORT = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {short: number for number, short in enumerate(SHORT, 1)}
NAMED = "|".join(f"{short}[a-z]*" for short in SHORT)
EIGHT = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)")
YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})\s?[-/.\s]\s?(\d{1,2})\s?[-/.\s]\s?(\d{1,2})(?!\d)")
YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})\s?[-/.\s]\s?(\d{1,2})\s?[-/.\s]\s?(\d{4}|\d{2})(?!\d)")
DAY_FIRST = re.compile(
    rf"(?<!\d)(\d{{1,2}})(?:st|nd|rd|th)?[\s.\-]*(?:of\s+)?({NAMED})[\s.,\-]*(\d{{4}}|\d{{2}})(?!\d)", re.I
)
MONTH_FIRST = re.compile(rf"({NAMED})[\s.\-]*(\d{{1,2}})(?:st|nd|rd|th)?[\s.,\-]+(\d{{4}}|\d{{2}})(?!\d)", re.I)


def dates_in(text: str) -> set[date]:
    """Every date that a text may mean, in any usual order of day and month; two-digit years in both centuries."""
    found: set[date] = set()
    for pattern in (EIGHT, YEAR_FIRST):
        for year, a, b in pattern.findall(text):
            found |= _days(year, ((a, b), (b, a)))
    for a, b, year in YEAR_LAST.findall(text):
        found |= _days(year, ((a, b), (b, a)))
    for day, month, year in DAY_FIRST.findall(text):
        found |= _days(year, ((str(MONTHS[month[:3].lower()]), day),))
    for month, day, year in MONTH_FIRST.findall(text):
        found |= _days(year, ((str(MONTHS[month[:3].lower()]), day),))
    return found


def _days(year: str, orders: tuple[tuple[str, str], ...]) -> set[date]:
    years = (int(year),) if len(year) == 4 else (1900 + int(year), 2000 + int(year))
    found = set()
    for number in years:
        for month, day in orders:
            try:
                found.add(date(number, int(month), int(day)))
            except ValueError:
                continue
    return found

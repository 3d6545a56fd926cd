"""Numbers as people read them: the same digits in every table, plot and caption."""

from __future__ import annotations

import math

MISSING = "\N{EN DASH}"


def significant(value: float, digits: int = 4) -> str:
    """A number to so many digits; powers of ten from 1e5 on and below 1e-3.

    >>> significant(4715970.3), significant(34920), significant(16.052), significant(0)
    ('4.716e6', '34920', '16.05', '0')
    """
    if not math.isfinite(value):
        return unusual(value)
    if value == 0:
        return "0"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    if not -3 <= int(power) < 5:
        return f"{mantissa}e{int(power)}"
    return f"{float(f'{mantissa}e{power}'):.{max(digits - 1 - int(power), 0)}f}"


def unusual(value: float) -> str:
    """Infinity and what is no number."""
    if math.isnan(value):
        return "not a number"
    return "∞" if value > 0 else "-∞"


def millions(count: int) -> str:
    """A count in millions, exact.

    >>> millions(29159715)
    '29.159715 M'
    """
    return f"{count // 10**6}.{count % 10**6:06d} M"


def short(value: float) -> str:
    """A count to four digits with its power of a thousand.

    >>> short(376_800_000_000), short(421_500_000), short(999_999), short(12)
    ('376.8 G', '421.5 M', '1.000 M', '12')
    """
    rounded = float(f"{value:.3e}")
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= limit:
            return f"{significant(rounded / limit)} {unit}"
    return f"{value:.4g}"


def giga(value: float) -> str:
    """A count in 1e9, for columns of one unit.

    >>> giga(376_812_345_678), giga(1_234_567)
    ('376.8', '0.001235')
    """
    return significant(value / 1e9)


def microjoules(value: float) -> str:
    """Energy in uJ to four digits, always as a power of ten from 1e4 on, as papers print it.

    >>> microjoules(4715970.3), microjoules(34920), microjoules(354)
    ('4.716e6', '3.492e4', '354.0')
    """
    if math.isfinite(value) and 1e4 <= float(f"{value:.3e}") < 1e5:
        return f"{value / 1e4:.3f}e4"
    return significant(value)


def seconds(value: float) -> str:
    """A duration in seconds to three digits.

    >>> seconds(0.04821), seconds(9.984), seconds(312.4)
    ('0.0482', '9.98', '312')
    """
    return significant(value, 3)


def duration(value: float) -> str:
    """A long duration in its two largest units.

    >>> duration(42.2), duration(754), duration(11640)
    ('42 s', '12 min 34 s', '3 h 14 min')
    """
    if value < 1:
        return f"{seconds(value)} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def megabytes(count: int) -> str:
    """Bytes in MB (1e6).

    >>> megabytes(1_079_000_000), megabytes(4_560_000), megabytes(12_000)
    ('1079', '4.56', '0.012')
    """
    value = count / 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def score(value: float, unit: str = "") -> str:
    """A metric's value: decibels to hundredths, small numbers to four decimals.

    >>> score(31.406, "dB"), score(0.90144), score(34.1234), score(4.7e6), score(float("inf"))
    ('31.41', '0.9014', '34.12', '4.700e6', '∞')
    """
    if not math.isfinite(value):
        return unusual(value)
    if unit == "dB" or 10 <= abs(value) < 1e4:
        return f"{value:.2f}"
    return f"{value:.4f}" if abs(value) < 10 else significant(value)


def size(height_width: tuple[int, int]) -> str:
    """Width x height, as image viewers say it.

    >>> size((321, 481))
    '481x321'
    """
    return f"{height_width[1]}x{height_width[0]}"


def shortened(text: str, limit: int = 32) -> str:
    """A text without line breaks, its middle left out where it is too long for a label.

    >>> shortened("VLIF, official, with refinement, 300k iterations", 24)
    'VLIF, offici…0k iterations'
    """
    text = " ".join(text.split())
    if len(text) <= limit + 2:
        return text
    half = limit // 2
    return f"{text[:half]}…{text[len(text) - half - 1 :]}"

"""How numbers and foreign text appear on the page.

Names in the database come from model files and from other engines, so they are hostile: escaping is Jinja's and the XML
writer's, but characters that XML forbids, or that reorder what the reader sees, are replaced here.
"""

import math
import re
import unicodedata

NO_BOUND = 4294967295  # m_max and kv_max of a plan entry without an upper bound

_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(value):
    """Text without control, bidirectional-override and non-XML characters."""
    return _FORBIDDEN.sub("\ufffd", str(value))


def shorten(value, limit):
    """At most `limit` characters, for labels; the whole text is elsewhere on the page."""
    value = clean(value)
    return value if len(value) <= limit else value[: limit - 1] + "…"


def significant(value, digits=3):
    """Plain decimal notation with `digits` significant digits and no exponent: 1234.5 -> 1230, 0.01234 -> 0.0123."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "∞" if value > 0 else "?"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}".replace(",", "\u202f")


def nanoseconds(value):
    """A duration in the unit that suits it."""
    for limit, factor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{significant(value / factor)} {unit}"
    return f"{significant(value / 1e9)} s"


def size(value):
    """Bytes in binary units, without a fraction where there is none."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if amount == int(amount) else f"{significant(amount)} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")


def percent(fraction, digits=1):
    return f"{100 * fraction:.{digits}f} %"


def ratio(value):
    return f"{value:.2f}×"


def span(low, high):
    """A range of M or of context as a plan has it."""
    if low == high:
        return str(low)
    return f"{low}–{'∞' if high == NO_BOUND else high}"


def pluralise(count, word, plural=None):
    return f"{count} {word if count == 1 else plural or word + 's'}"


def anchor(*parts):
    """An element id from arbitrary text: letters, digits and hyphens only."""
    joined = "-".join(unicodedata.normalize("NFKD", str(p)) for p in parts)
    return re.sub(r"[^A-Za-z0-9]+", "-", joined).strip("-").lower() or "x"

"""Values as text: numbers, shares and times in the form of a language, or plain for programs and spreadsheets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent


@dataclass(frozen=True)
class Formats:
    """How values are written."""

    language: str = "en"
    zone: str = "UTC"  #: an IANA name
    plain: bool = False  #: numbers without separators, shares as fractions, times in ISO form; nothing for ``None``

    def count(self, value: float | None) -> str:
        """Return a number with the separators of the language; a dash for ``None``."""
        if value is None:
            return self.missing
        return f"{value}" if self.plain else format_decimal(value, locale=self.language)

    def share(self, value: float | None, digits: int = 1) -> str:
        """Return a share, 0 to 1, as a percentage with ``digits`` decimals; a dash for ``None``."""
        if value is None:
            return self.missing
        pattern = "#,##0" + ("." + "0" * digits if digits else "") + "%"
        return f"{value:.6g}" if self.plain else format_percent(value, pattern, locale=self.language)

    def decimal(self, value: float | None, digits: int = 2) -> str:
        """Return a number with ``digits`` decimals; a dash for ``None``."""
        if value is None:
            return self.missing
        pattern = "#,##0." + "0" * digits
        return f"{value:.6g}" if self.plain else format_decimal(value, pattern, locale=self.language)

    def change(self, value: float | None) -> str:
        """Return a number with its sign; a dash for ``None``."""
        return f"{'+' if value and value > 0 and not self.plain else ''}{self.count(value)}"

    def moment(self, value: datetime | None, form: str = "short") -> str:
        """Return a time in the zone, which is named if it is UTC; a dash for ``None``; ``form`` as in CLDR."""
        if value is None:
            return self.missing
        local = value.astimezone(ZoneInfo(self.zone))
        if self.plain:
            return f"{local:%Y-%m-%d %H:%M:%S}"
        text = format_datetime(local, form, locale=self.language)
        return f"{text} UTC" if self.zone == "UTC" else text

    def day(self, value: datetime | None) -> str:
        """Return the day of a time in the zone; a dash for ``None``."""
        if value is None:
            return self.missing
        return format_date(value.astimezone(ZoneInfo(self.zone)).date(), "medium", locale=self.language)

    def number(self, value: float | None, spec: str = ",") -> str:
        """Return a number formatted by ``spec`` as in an f-string; a dash for ``None``."""
        if value is None:
            return self.missing
        if not self.plain:
            return format(value, spec)
        return f"{value:.6g}" if spec.endswith("%") else format(value, spec.replace(",", ""))

    @property
    def missing(self) -> str:
        """What stands for no value."""
        return "" if self.plain else "–"

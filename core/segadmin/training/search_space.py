"""The search space: options of a backbone and their candidate values, written as ``epochs=1..4``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    import optuna

_RANGE = re.compile(r"(?P<low>[^.,][^,]*?)\.\.(?P<high>[^,:]+?)(?P<log>:log)?")


@dataclass(frozen=True)
class Choice:
    """The candidate values of one option."""

    name: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False  #: sample on a logarithmic scale
    values: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str, words: str) -> Choice:
        """Parse ``1..4``, ``1e-5..1e-3:log`` or ``full,lora``.

        Raises:
            ConfigurationError: it is not a valid range or list of values.
        """
        text = words.strip()
        if bounds := _RANGE.fullmatch(text):
            low, high = (_number(name, text, bounds[side]) for side in ("low", "high"))
            if not low < high or (bounds["log"] and low <= 0):
                raise ConfigurationError(f"{name}={words}: a range goes up, and a logarithmic one begins above 0.")
            return cls(name, low, high, log=bool(bounds["log"]))
        values = tuple(dict.fromkeys(value.strip() for value in text.split(",") if value.strip()))
        if len(values) < 2:
            raise ConfigurationError(
                f"{name}={words} leaves nothing to choose. Write 1..4, 1e-5..1e-3:log or full,lora."
            )
        return cls(name, values=values)

    def suggest(self, trial: optuna.Trial) -> Any:
        """Return a value for ``trial``."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        assert self.low is not None and self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, float(self.low), float(self.high), log=self.log)

    @property
    def an_example(self) -> str:
        """One of the values, to check the option against the backbone."""
        return self.values[0] if self.values else str(self.low)


def choices(space: Mapping[str, str]) -> list[Choice]:
    """Parse ``space``, option → candidate values, in order."""
    return [Choice.parse(name, words) for name, words in space.items()]


def _number(name: str, words: str, text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name}={words}: {text!r} is not a number. Write 1..4 or 1e-5..1e-3:log.") from None

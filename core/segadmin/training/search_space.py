"""What is searched: an option of a backbone, and the values that it may take.

On a command line they are written as ``epochs=1..4``, in TOML and JSON also as a list or a table:
``epochs = {low = 1, high = 4}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    import optuna

_RANGE = re.compile(r"(?P<low>[^.,][^,]*?)\.\.(?P<high>[^,:]+?)(?P<log>:log)?")


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    low: int | float
    high: int | float
    log: bool = False  #: evenly by magnitude


#: ``1..4``, ``1e-5..1e-3:log`` or ``full,lora``; or a list; or a range.
Values = str | tuple[bool | int | float | str, ...] | Range


@dataclass(frozen=True)
class Choice:
    """The candidate values of one option."""

    name: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False  #: sample on a logarithmic scale
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, values: Values) -> Choice:
        """Return the choice among ``values`` of the option ``name``.

        Raises:
            ConfigurationError: there is nothing to choose from.
        """
        if isinstance(values, str):
            values = _parse(name, values)
        if isinstance(values, Range):
            if not values.low < values.high or (values.log and values.low <= 0):
                raise ConfigurationError(
                    f"{name} from {values.low} to {values.high}: a range goes up, and one by magnitude begins above 0."
                )
            return cls(name, values.low, values.high, log=values.log)
        words = tuple(dict.fromkeys(str(value) for value in values))
        if len(words) < 2:
            raise ConfigurationError(
                f"{name}={','.join(words)} leaves nothing to choose. Write 1..4, 1e-5..1e-3:log or full,lora."
            )
        return cls(name, values=words)

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


def choices(space: Mapping[str, Values]) -> list[Choice]:
    """Return what ``space`` says, in its order."""
    return [Choice.of(name, values) for name, values in space.items()]


def _parse(name: str, words: str) -> Range | tuple[str, ...]:
    """Return what ``1..4``, ``1e-5..1e-3:log`` or ``full,lora`` stands for."""
    text = words.strip()
    if match := _RANGE.fullmatch(text):
        low, high = (_number(name, text, match[side]) for side in ("low", "high"))
        return Range(low=low, high=high, log=bool(match["log"]))
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(name: str, words: str, text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name}={words}: {text!r} is not a number. Write 1..4 or 1e-5..1e-3:log.") from None

"""Sentences of the program that pages translate: an English text, and the values that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A text with ``%(name)s`` for its values; as a string, it is English."""

    text: str
    values: Mapping[str, object]

    def __str__(self) -> str:
        return self.translated(lambda text: text)

    def translated(self, translate: Callable[[str], str]) -> str:
        """Return the text in the language of ``translate``, also of values that are sentences or tuples of them."""

        def text(value: object) -> object:
            if isinstance(value, tuple):
                return ", ".join(str(text(each)) for each in value)
            return value.translated(translate) if isinstance(value, Sentence) else value

        values = {name: text(value) for name, value in self.values.items()}
        return translate(self.text) % values if values else translate(self.text)


def sentence(text: str, **values: object) -> Sentence:
    """Return a sentence; calls with a literal are found by :mod:`segadmin_api.dashboard.texts`."""
    return Sentence(text, values)

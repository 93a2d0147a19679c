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

    def translated(self, translate: Callable[[str], str], message: Callable[[str], str] = str) -> str:
        """Return the text in another language, also of values that are sentences or tuples of them.

        Args:
            translate: returns a text in the language.
            message: returns a value that is text, such as an error, in the language.
        """

        def text(value: object) -> object:
            if isinstance(value, tuple):
                return translate(", ").join(str(text(each)) for each in value)
            if isinstance(value, Sentence):
                return value.translated(translate, message)
            return message(value) if isinstance(value, str) else value

        values = {name: text(value) for name, value in self.values.items()}
        return translate(self.text) % values if values else translate(self.text)


def counted_sentence(number: int, noun: str, shown: str = "") -> Sentence:
    """Return a number with its noun.

    Args:
        number: how many there are.
        noun: one of :data:`_NOUNS`.
        shown: the number as it is written; default: with commas.
    """
    one, many = _NOUNS[noun]
    return sentence((one if number == 1 else many).text, count=shown or f"{number:,}")


def sentence(text: str, **values: object) -> Sentence:
    """Return a sentence; calls with a literal are found by :mod:`segadmin_api.dashboard.texts`."""
    return Sentence(text, values)


#: What is counted: the text for one, and that for other numbers.
_NOUNS = {
    "alarm": (sentence("%(count)s alarm"), sentence("%(count)s alarms")),
    "event": (sentence("%(count)s event"), sentence("%(count)s events")),
    "example": (sentence("%(count)s example"), sentence("%(count)s examples")),
    "job": (sentence("%(count)s job"), sentence("%(count)s jobs")),
    "label": (sentence("%(count)s label"), sentence("%(count)s labels")),
    "row": (sentence("%(count)s row"), sentence("%(count)s rows")),
    "test row": (sentence("%(count)s test row"), sentence("%(count)s test rows")),
    "user": (sentence("%(count)s user"), sentence("%(count)s users")),
}

"""Why rows are in quarantine: what each reason means, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple


class Explanation(NamedTuple):
    """What a reason means, and how rows with it are imported nevertheless."""

    meaning: str
    fix: str


_SHAPE = "Correct the row in the file, or import the file again with the right separator and quotes."
_OF_KEYS = "Rename the key in what sends the events."
_AGAIN = "Nothing has to be done: the event is in the store."

#: Reason → its explanation; ``docs/reference/cleaning-rules.md`` lists the same.
EXPLANATIONS = {
    "ragged_row": Explanation("The row has too many or too few cells.", _SHAPE),
    "bad_encoding": Explanation(
        "The row is not UTF-8.", "Import the file again with its encoding, such as encoding = gb18030."
    ),
    "not_json": Explanation("The line is not JSON.", "Correct the line, and import it again."),
    "repeated_header": Explanation(
        "The header is repeated, as in files that were joined.", "Nothing has to be done: it is no row."
    ),
    "escaped_quote": Explanation(
        "A backslash precedes a quote.", "Import the file again with the option escape = \\, which reads it."
    ),
    "unclosed_quote": Explanation("A quote opens a cell and is not closed.", _SHAPE),
    "cut_short": Explanation("The file ends inside a list: it is not complete.", "Fetch the file again."),
    "too_many_fields": Explanation("The event has more fields than are taken.", "Send fewer fields."),
    "too_deep": Explanation("The value is nested too deeply.", "Send it with fewer levels."),
    "too_long": Explanation("The event is longer than is taken.", "Send shorter texts."),
    "reserved_name": Explanation("A name begins as those of segadmin's own columns do.", _OF_KEYS),
    "failed": Explanation(
        "Cleaning the event failed; the value is the error.", "Report it, and import the event again after an update."
    ),
    "missing_user": Explanation("The row has no user.", "Map the field user to the column with the user's id."),
    "missing_item": Explanation("The row has no item.", "Map the field item to the column with the item's id."),
    "missing_segment": Explanation("The row has no segment.", "Map the field segment to the column with the segment."),
    "unknown_kind": Explanation(
        "The word is no kind of event.", "Say what the word means under kinds: view, cart, purchase, …, or ignore."
    ),
    "mangled_id": Explanation(
        "A spreadsheet shortened the id, so that it may stand for several.",
        "Export the ids as text from where they are whole.",
    ),
    "nested_id": Explanation("The id is an object or a list.", "Map the field to a path, such as item.id."),
    "bad_time": Explanation(
        "The value is not a time, or it is before 1990.", "Name the format of the times, such as %d.%m.%Y %H:%M."
    ),
    "bad_number": Explanation("The value is not a number.", "Name the decimal sign, or correct the cell."),
    "future_time": Explanation(
        "The event is in the future.", "Name the time zone of times without one, or wait until their time has come."
    ),
    "impossible_value": Explanation(
        "The value cannot be: a rating beyond its scale, a stay of weeks, a price of a billion.",
        "Name the unit of the numbers, such as cents or milliseconds.",
    ),
    "cancelled": Explanation(
        "The order's status means that nothing was bought.", "If it was bought, say so under statuses."
    ),
    "unknown_currency": Explanation("No rate is given for the currency.", "Give its rate under rates."),
    "duplicate_event": Explanation("The user has an event with the same id, or an equal one.", _AGAIN),
    "bot": Explanation(
        "The user did more on some day than people do.", "Raise bot_events_per_day under rules if it is a person."
    ),
    "unknown_user": Explanation("The label is of a user without events.", "Import the user's events first."),
    "bad_vector": Explanation("The vector is no list of finite numbers.", "Compute the vector again."),
    "vector_length": Explanation("The vector has another length than the others.", "Use the same model for all items."),
    "unreadable_image": Explanation("The file cannot be read as a picture.", "Replace the file."),
    "second_image": Explanation("The item has a picture already.", "Keep one picture of each item."),
}
UNKNOWN = Explanation("A plugin gave this reason.", "See the description of the plugin.")


def explanation(reason: str) -> Explanation:
    """Return what a reason means."""
    return EXPLANATIONS.get(reason, UNKNOWN)


def explain(reason: str) -> str:
    """Return what a reason means, and what to do, as one text."""
    return " ".join(explanation(reason))

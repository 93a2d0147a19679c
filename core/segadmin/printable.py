"""Text of anybody, such as cells of an imported file, as a terminal may show it.

Control characters move the cursor, hide or overwrite lines, and set the title or the clipboard; marks of direction show
text in another order than it has.
"""

from __future__ import annotations

import re

#: All control characters but tab and newline, the separators of lines and paragraphs, the marks of direction that
#: change the order of other text, and halves of characters, which cannot be written.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return ``text`` with what a terminal would obey shown instead: ``\x1b`` for an escape; lines and tabs stay."""
    return _UNPRINTABLE.sub(lambda sign: repr(sign[0])[1:-1], text)


def printable_json(text: str) -> str:
    r"""Return ``text``, which is JSON, with the same value and nothing that a terminal would obey: ``\u009b``."""
    return _UNPRINTABLE.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)

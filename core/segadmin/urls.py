"""URLs that may contain passwords: masked in output, validated, and completed from the environment.

A password reaches a terminal, a log or a SQL column only in a message, so every message is masked by
:func:`mask_secrets` before it leaves the program. This includes passwords in malformed URLs, because messages about
them quote the URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from segadmin.errors import ConfigurationError

MASK = "***"
#: An encrypted copy of a text behind what may be shown of it; see :mod:`segadmin.storage.sealing`.
SEALED = re.compile(r" \[sealed:([\w=-]+)\]")
#: How to escape reserved characters in a password.
ESCAPES = (
    "In a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, [ as %5B, ] as %5D and a space "
    "as %20"
)

# Messages hold what strangers send, up to 64 KiB in a path, so every pattern takes a time linear in the length of the
# text: none is tried at each position of a long word, and none reads a part of the text once for each place in it.

#: It is tried only where a word begins; what stands before the first letter, such as a digit, is not the scheme.
_SCHEME = re.compile(r"(?<![\w+.-])(?:(?![A-Za-z])[\w+.-])*+(?P<scheme>[A-Za-z][\w+.-]*+)://(?!/)")
_TOKEN = re.compile(_SCHEME.pattern + r"(?P<rest>\S+)")
_URL = re.compile(_SCHEME.pattern + r"(?P<rest>.+)", re.DOTALL)
_LOGIN = re.compile(r"^(?P<scheme>)(?P<rest>[^\s/:@]+:[^\s/]+@.*)$", re.DOTALL)
#: A value ends at a space or ``&``; trailing punctuation is not part of it.
_VALUE = r"""\$\{\w+\}|[^&\s](?:[^&\s]*[^&\s'")\],.;:>}])?"""
#: Words for secrets, anywhere in a name; and names that are too short or too common to be looked for inside others.
_WORD = "secret|passw|passphrase|passcode|pwd|token|key|sig|credential|odbc_connect"
_NAME = "pass|pw|auth|authorization|jwt|sas|code|session|bearer"
#: A parameter of a query or a fragment: with a value, as the second group, if its name marks it as secret; else only
#: its name, so that the search goes on behind it.
_PARAMETER = re.compile(
    rf"([?&;#](?=[^=&\s]*?(?:{_WORD})|(?:{_NAME})=)[^=&\s]*+=)({_VALUE})|[?&;#][^=&\s]*+", re.IGNORECASE
)
#: Words for secrets in names outside of URLs, where a token or a key is often something else.
_ARGUMENT_WORD = (
    "passw|passphrase|passcode|pwd|secret|credential|(?:access|auth|session|sas|refresh|api)[_-]?token|"
    "(?:access|account|api|private|shared)[_-]?key"
)
#: The forms in which drivers quote their arguments: ``password=…`` and ``'password': '…'``.
_ARGUMENT = re.compile(
    rf"""((?<![\w-])(?=[\w-]*?(?:{_ARGUMENT_WORD}))[\w-]++(?:=|['"]:\ ?))('[^']*'|"[^"]*"|{_VALUE})""",
    re.IGNORECASE,
)
#: A header, or a part of one, with what it proves.
_HEADER = re.compile(
    r"""((?:\bauthorization['"]?[:=]\ ?['"]?(?:bearer|basic|token|digest)|\bbearer)\ )([\w.~+/=-]{8,})""", re.IGNORECASE
)
#: An option of a plugin that is a secret as a whole, whatever form it has.
_OPTION = re.compile(
    r"(?:.*[_.-])?(?:pass|password|passwd|pwd|passphrase|passcode|secret|token|sas|jwt|credentials?|authorization|"
    r"(?:api|access|account|private|shared|secret|access_key|secret_access)_?key)",
    re.IGNORECASE,
)
#: A key of the HTTP API, also in a path or a query, possibly after ``%3D``.
_KEY = re.compile(r"seg_[\w-]{16,}")
_ADDRESS = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::(?P<port>\d{0,5}))?")
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
#: Schemes in which a token is often given as the user, without a password.
_TOKEN_AS_USER = ("http", "https", "git+https")
#: The example in segadmin's own messages.
_SAMPLE = "user:password@host"
_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):(?:\d+\W*$|$)|\[[^\]]*\]\W*$")


def mask_secrets(text: str) -> str:
    """Return ``text`` with every password and token in a URL replaced by ``***``.

    It masks passwords of logins, query parameters with names of secrets (``?token=…``), ``password=…``, tokens of
    ``Authorization`` headers, and keys of the HTTP API. References to the environment (``$SHOP_PASSWORD``) stay.
    """
    return _KEY.sub(f"seg_{MASK}", _mask_values(_TOKEN.sub(_mask_login, SEALED.sub("", text))))


def mask_url(url: str) -> str:
    """Return ``url`` masked as by :func:`mask_secrets`, but as a single URL, even if its password has a space.

    The scheme may be missing, as in a mistyped setting.
    """
    pattern = _URL if "://" in url else _LOGIN
    return mask_secrets(pattern.sub(_mask_login, SEALED.sub("", url)))


def mask_all(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return a JSON value with all its strings masked, and those under the name of a secret (``token``) as a whole.

    Args:
        value: options, or what holds some.
        path: the names under which ``value`` is found.
    """
    if isinstance(value, dict):
        return {name: mask_all(item, (*path, name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item, path) for item in value]
    if not isinstance(value, str):
        return value
    return MASK if is_secret_option(path, value) else mask_url(value)


def replace_secrets(value: Any, replace: Callable[[tuple[str, ...], str, str], Any], path: tuple[str, ...] = ()) -> Any:
    """Return a JSON value in which every text with a secret is replaced.

    Args:
        value: options, or what holds some.
        replace: returns what stands for a text; called with its path, the text, and what may be shown of it.
        path: the names under which ``value`` is found.
    """
    if isinstance(value, dict):
        return {name: replace_secrets(item, replace, (*path, name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_secrets(item, replace, path) for item in value]
    if not isinstance(value, str):
        return value
    if is_secret_option(path, value):
        return replace(path, value, MASK)
    return replace(path, value, mask_url(value)) if has_secret(value) else value


def url_problem(url: str) -> str | None:
    """Return why ``url`` cannot be parsed as intended, or ``None``; the message never quotes the URL.

    After an unescaped reserved character, the rest of a password is parsed as host, port or path, which clients quote
    in their messages.
    """
    scheme, separator, rest = _REFERENCE.sub("0", url).partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        return "it is not a URL such as scheme://user:password@host/name"
    if rest.startswith("/"):  # a path: no login, and all characters are allowed
        return None
    problems = [_part_problem(part) for part in re.split(r";(?:[A-Za-z][\w+.-]*://)", rest)]  # Celery's list of brokers
    return next((problem for problem in problems if problem), None)


def has_secret(text: str) -> bool:
    """Return whether ``text`` contains a password or a token itself, not only the name of a variable."""
    shown = _URL.sub(_mask_login, text)
    return shown != text or _mask_values(text) != text


def is_secret_option(path: Sequence[str], value: str) -> bool:
    """Return whether a text is a secret by the name of its option, such as ``password``; a reference is none.

    The names in a mapping are the shop's own, such as its kinds of events, but for the options of a source.
    """
    if value in ("", MASK) or not path:
        return False
    if "mapping" in path and "options" not in path[path.index("mapping") :]:
        return False
    return bool(_OPTION.fullmatch(path[-1])) and not _is_reference(value) and not SEALED.search(value)


def fill_in_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``options`` with those that are secrets by their names and given as ``$NAME`` read from the environment.

    Raises:
        ConfigurationError: a variable is not set.
    """
    return {
        name: _variable(match[1] or match[2])
        if isinstance(value, str) and _OPTION.fullmatch(name) and (match := _REFERENCE.fullmatch(value))
        else value
        for name, value in options.items()
    }


def fill_in(url: str) -> str:
    """Return ``url`` with ``$NAME`` and ``${NAME}`` replaced by values of the environment, escaped as needed.

    A variable may also contain the complete URL.

    Raises:
        ConfigurationError: a variable is not set, or the URL cannot be parsed, or its password is masked.
    """
    if reference := _REFERENCE.fullmatch(url):
        value = _variable(reference[1] or reference[2])
        if problem := url_problem(value):
            raise ConfigurationError(f"What {url} holds cannot be read as a URL: {problem}.")
        return value
    if problem := url_problem(url):
        raise ConfigurationError(f"{mask_url(url)!r} cannot be read: {problem}.")
    if f":{MASK}@" in url:
        raise ConfigurationError(f"{url!r} shows {MASK} for a password, as messages do. Write $NAME, and set NAME.")
    start = url.index("://") + 3
    login = url.rfind("@", start, start + len(re.split(r"[/?#]", url[start:], maxsplit=1)[0]))
    query = url.find("?")

    def substitute(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ and name != name.upper():  # a literal dollar sign in the password
            return match[0]
        content = _variable(name)
        reserved = r"[@/?#\s\[\]]" if match.start() < login else r"[&#\s]" if 0 < query < match.start() else r"(?!)"
        return re.sub(reserved, lambda sign: quote(sign[0], safe=""), content)

    return _REFERENCE.sub(substitute, url)


def _variable(name: str) -> str:
    """Return the value of an environment variable."""
    if name not in os.environ:
        raise ConfigurationError(f"The variable {name} is not set. Set it where this runs: export {name}=…")
    return os.environ[name]


def _part_problem(rest: str) -> str | None:
    """Return the problem of a URL after its scheme, or ``None``."""
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    login, _, address = authority.rpartition("@")
    port = _ADDRESS.fullmatch(address)
    may_hold_password = ":" in authority or "@" in authority
    problems = {
        "it has a space in it": may_hold_password and re.search(r"\s", rest),
        "it has a # in it": may_hold_password and "#" in rest,
        "it has several @": "@" in login,
        "it has an @ behind its host": may_hold_password and "@" in rest[len(authority) :],
        "it has a square bracket in its login": "[" in login or "]" in login,
        "its port is not a number from 0 to 65535": not port or int(port["port"] or 0) >= 2**16,
    }
    return next((f"{problem}. {ESCAPES}" for problem, is_so in problems.items() if is_so), None)


def _is_reference(word: str) -> bool:
    match = _REFERENCE.fullmatch(word)
    return match is not None and ((name := match[1] or match[2]) == name.upper() or name in os.environ)


def _mask_login(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    start = match[0].removesuffix(rest)  # the scheme and what stands before it
    login, at, host = rest.rpartition("@")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if rest.startswith(_SAMPLE) or not (":" in authority or "@" in authority):
        return match[0]
    if not at:  # the host may be missing, so what looks like a port may be a password
        return match[0] if _PORT.match(authority) else f"{start}{authority.partition(':')[0]}:{MASK}"
    user, colon, password = login.partition(":")
    if colon:
        shown = login if _is_reference(password) else f"{user}:{MASK}"
    elif "@" in login or (scheme.lower() in _TOKEN_AS_USER and not _is_reference(login)):
        shown = MASK
    else:
        shown = login
    return f"{start}{shown}@{host}"


def _mask_values(text: str) -> str:
    """Return ``text`` with secrets masked that stand behind their names."""
    for pattern in (_PARAMETER, _ARGUMENT, _HEADER):
        text = pattern.sub(_mask_value, text)
    return text


def _mask_value(match: re.Match[str]) -> str:
    return match[0] if match[2] is None or _is_reference(match[2]) else f"{match[1]}{MASK}"

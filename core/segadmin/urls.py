"""URLs that may contain passwords: masked in output, validated, and completed from the environment.

A password reaches a terminal, a log or a SQL column only in a message, so every message is masked by
:func:`mask_secrets` before it leaves the program. This includes passwords in malformed URLs, because messages about
them quote the URL.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote

from segadmin.errors import ConfigurationError

MASK = "***"
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
#: A query parameter: with a value, as the second group, if its name marks it as secret; else only its name, so that the
#: search goes on behind it.
_PARAMETER = re.compile(
    r"([?&;](?=[^=&\s]*?(?:secret|passw|pwd|token|key|sig|credential|odbc_connect))[^=&\s]*+=)"
    rf"({_VALUE})|[?&;][^=&\s]*+",
    re.IGNORECASE,
)
#: The forms in which drivers quote their arguments: ``password=…`` and ``'password': '…'``.
_ARGUMENT = re.compile(
    rf"""(\b(?:password|passwd|pwd)=|['"](?:password|passwd|pwd)['"]: )('[^']*'|"[^"]*"|{_VALUE})""", re.IGNORECASE
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

    It masks passwords of logins, query parameters with names of secrets (``?token=…``), ``password=…``, and keys of the
    HTTP API. References to the environment (``$SHOP_PASSWORD``) stay.
    """
    masked = _KEY.sub(f"seg_{MASK}", _TOKEN.sub(_mask_login, text))
    masked = _PARAMETER.sub(_mask_value, masked)
    return _ARGUMENT.sub(_mask_value, masked)


def mask_url(url: str) -> str:
    """Return ``url`` masked as by :func:`mask_secrets`, but as a single URL, even if its password has a space.

    The scheme may be missing, as in a mistyped setting.
    """
    pattern = _URL if "://" in url else _LOGIN
    return mask_secrets(pattern.sub(_mask_login, url))


def mask_all(value: Any) -> Any:
    """Return a JSON value with all its strings masked."""
    if isinstance(value, dict):
        return {name: mask_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item) for item in value]
    return mask_url(value) if isinstance(value, str) else value


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


def has_secret(url: str) -> bool:
    """Return whether ``url`` contains a password or a token itself, not only the name of a variable."""
    if "://" not in url:
        return False
    rest = url.partition("://")[2]
    login, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    password = login.partition(":")[2]
    if at and password and not _is_reference(password):
        return True
    if url_problem(url) is not None:
        return mask_url(url) != url
    return _PARAMETER.sub(_mask_value, url) != url


def fill_in(url: str) -> str:
    """Return ``url`` with ``$NAME`` and ``${NAME}`` replaced by values of the environment, escaped as needed.

    A variable may also contain the complete URL.

    Raises:
        ConfigurationError: a variable is not set, or the URL cannot be parsed.
    """
    if reference := _REFERENCE.fullmatch(url):
        value = _variable(reference[1] or reference[2])
        if problem := url_problem(value):
            raise ConfigurationError(f"What {url} holds cannot be read as a URL: {problem}.")
        return value
    if problem := url_problem(url):
        raise ConfigurationError(f"{mask_url(url)!r} cannot be read: {problem}.")
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


def _mask_value(match: re.Match[str]) -> str:
    return match[0] if match[2] is None or _is_reference(match[2]) else f"{match[1]}{MASK}"

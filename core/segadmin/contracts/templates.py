"""Templates: what textualizers say, as sentences with names in braces that a file can replace.

What stands in square brackets is left out where something named in it is missing: ``{verb} {item}[, {price} yuan]``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from zlib import crc32

from segadmin.contracts.event_kinds import KINDS
from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.settings import Language

if TYPE_CHECKING:
    import polars as pl

    from segadmin.contracts.plugins import Plugins

#: ``textualizer.template`` → what to say, then other ways to say it, which only training reads.
Templates = Mapping[str, tuple[str, ...]]
#: The section of a file that names what users do, not a textualizer's sentences.
VERBS = "verbs"
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{([a-z_]+)\}")


def fields(template: str) -> set[str]:
    """Return the names in braces."""
    return set(_FIELD.findall(template))


def fill(template: str, parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return ``template`` with its names replaced by ``parts``, as one string expression.

    A part that is null is left out; in brackets, all of the bracket is.
    """
    import polars as pl

    names = sorted(fields(template))
    if not names:
        return pl.lit(_GROUP.sub(r"\1", template))
    given = pl.struct(parts[name].alias(name) for name in names)
    filled = partial(_filled, _GROUP.split(template))
    return given.map_batches(filled, return_dtype=pl.String, is_elementwise=True)


def _filled(pieces: Sequence[str], given: pl.Series) -> pl.Series:
    """Fill the pieces of a template, of which every second one was in brackets.

    Strings are put together once: brackets that all rows have are no different from what is around them.
    """
    import polars as pl

    parts = given.struct.unnest()
    nulls = dict(zip(parts.columns, parts.null_count().row(0), strict=True))
    said: list[pl.Expr] = []
    sentence = ""
    for n, piece in enumerate(pieces):
        if n % 2 == 0 or not any(nulls[name] for name in fields(piece)):
            sentence += piece
        elif all(nulls[name] < parts.height for name in fields(piece)):
            said += [_together(sentence, lacking=""), _together(piece)]
            sentence = ""
    said.append(_together(sentence, lacking=""))
    return parts.select(pl.concat_str(said, ignore_nulls=True).alias("said")).to_series()


def _together(text: str, lacking: str | None = None) -> pl.Expr:
    """Return ``text`` with its names filled in; null where one is null, unless ``lacking`` stands in for it."""
    import polars as pl

    names = [pl.col(name) if lacking is None else pl.col(name).fill_null(lacking) for name in _FIELD.findall(text)]
    return pl.format(_FIELD.sub("{}", text), *names) if names else pl.lit(text)


def vary(templates: tuple[str, ...], name: str, variant: int, parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return one of several ways to say it: the first, or, in a variant, each user's own choice."""
    import polars as pl

    if variant == 0 or len(templates) == 1:
        return fill(templates[0], parts)
    # The low bits of the key are the user's bucket, the same for all who are read together.
    number = (pl.col("user_key").reinterpret(signed=False) // (1 << 32)) + (crc32(name.encode()) >> 8) + variant
    said = pl.when(number % len(templates) == 0).then(fill(templates[0], parts))
    for n, template in enumerate(templates[1:], 1):
        said = said.when(number % len(templates) == n).then(fill(template, parts))  # type: ignore[assignment]
    return said


def read_templates(path: Path) -> dict[Language, dict[str, tuple[str, ...]]]:
    """Return the templates of a TOML file, by language; see :func:`check_templates`.

    Raises:
        ConfigurationError: it cannot be read, or is not of the form ``[zh.summary] phrase = "…"``.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"The template file {path} cannot be read: {error}.") from None
    found: dict[Language, dict[str, tuple[str, ...]]] = {}
    for language, sections in told.items():
        if language not in get_args(Language) or not isinstance(sections, dict):
            mend = "Write [zh.summary] or [en.summary]"
            raise ConfigurationError(f"{path} has {language!r}, which is no language. {mend}.")
        found[language] = dict(_sections(path, language, sections))  # type: ignore[index]
    return found


def _sections(path: Path, language: str, sections: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for section, templates in sections.items():
        for name, told in templates.items() if isinstance(templates, dict) else [("", None)]:
            ways = [told] if isinstance(told, str) else told
            if not (isinstance(ways, list) and ways and all(isinstance(one, str) and one.strip() for one in ways)):
                raise ConfigurationError(
                    f"{path} has {name or section!r} under [{language}.{section}], which is no text or list of texts."
                )
            yield f"{section}.{name}", tuple(ways)


def check_templates(plugins: Plugins, templates: Templates) -> None:
    """Check that there are such templates, and that they name only what can be filled in.

    Raises:
        ConfigurationError: naming the template, and what it may say.
        PluginNotFound: there is no such textualizer.
    """
    for name, ways in templates.items():
        section, _, template = name.partition(".")
        if section == VERBS:
            known: Mapping[str, Mapping[Language, str]] = {kind: {} for kind in KINDS}
        else:
            known = plugins.find("textualizer", section).load().templates
        if template not in known:
            mend = did_you_mean(template, known) or f" There are: {', '.join(known) or 'none'}."
            raise ConfigurationError(f"{section} has no template {template!r}.{mend}")
        allowed = set().union(*(fields(one) for one in known[template].values()))
        for way in ways:
            strange = sorted(fields(way) - allowed) + re.findall(r"[{}].*", _FIELD.sub("", way))
            if strange:
                may = ", ".join(f"{{{one}}}" for one in sorted(allowed)) or "no names"
                raise ConfigurationError(f"The template {name} cannot say {strange[0]!r} in {way!r}: it may say {may}.")

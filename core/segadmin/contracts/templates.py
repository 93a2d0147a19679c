"""Templates: the sentences of textualizers, with placeholders in braces; a file can replace them.

Text in square brackets is optional, and omitted if one of its placeholders is null: ``{verb} {item}[, {price} yuan]``.
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

#: ``textualizer.template`` → the sentence, then alternatives, which only training uses.
Templates = Mapping[str, tuple[str, ...]]
#: The section of a file that has the verbs of events, not the sentences of a textualizer.
VERBS = "verbs"
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{([a-z_]+)\}")


def fields(template: str) -> set[str]:
    """Return the names of the placeholders."""
    return set(_FIELD.findall(template))


def fill(template: str, parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return ``template`` with its placeholders replaced by ``parts``, as one string expression.

    A null part is replaced by nothing; inside brackets, the whole bracket is omitted.
    """
    import polars as pl

    names = sorted(fields(template))
    if not names:
        return pl.lit(_GROUP.sub(r"\1", template))
    values = pl.struct(parts[name].alias(name) for name in names)
    fill_pieces = partial(_fill_pieces, _GROUP.split(template))
    return values.map_batches(fill_pieces, return_dtype=pl.String, is_elementwise=True)


def _fill_pieces(pieces: Sequence[str], values: pl.Series) -> pl.Series:
    """Fill in the pieces of a template, of which every second one was in brackets.

    Pieces that no row omits are merged before they are formatted, so that strings are concatenated once.
    """
    import polars as pl

    parts = values.struct.unnest()
    nulls = dict(zip(parts.columns, parts.null_count().row(0), strict=True))
    sentences: list[pl.Expr] = []
    text = ""
    for n, piece in enumerate(pieces):
        if n % 2 == 0 or not any(nulls[name] for name in fields(piece)):
            text += piece
        elif all(nulls[name] < parts.height for name in fields(piece)):
            sentences += [_format(text, default=""), _format(piece)]
            text = ""
    sentences.append(_format(text, default=""))
    return parts.select(pl.concat_str(sentences, ignore_nulls=True).alias("sentence")).to_series()


def _format(text: str, default: str | None = None) -> pl.Expr:
    """Return ``text`` with its placeholders filled in; null if one is null, unless ``default`` replaces nulls."""
    import polars as pl

    names = [pl.col(name) if default is None else pl.col(name).fill_null(default) for name in _FIELD.findall(text)]
    return pl.format(_FIELD.sub("{}", text), *names) if names else pl.lit(text)


def vary(templates: tuple[str, ...], name: str, variant: int, parts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return one of several sentences: the first, or, in a variant, one chosen by user."""
    import polars as pl

    if variant == 0 or len(templates) == 1:
        return fill(templates[0], parts)
    # The low bits of the key are the user's bucket, the same for all users of a frame.
    number = (pl.col("user_key").reinterpret(signed=False) // (1 << 32)) + (crc32(name.encode()) >> 8) + variant
    sentence = pl.when(number % len(templates) == 0).then(fill(templates[0], parts))
    for n, template in enumerate(templates[1:], 1):
        sentence = sentence.when(number % len(templates) == n).then(fill(template, parts))  # type: ignore[assignment]
    return sentence


def read_templates(path: Path) -> dict[Language, dict[str, tuple[str, ...]]]:
    """Return the templates of a TOML file, by language; see :func:`check_templates`.

    Raises:
        ConfigurationError: it cannot be read, or is not of the form ``[zh.summary] phrase = "…"``.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no TOML, or NUL in the path
        raise ConfigurationError(f"The template file {path} cannot be read: {error}.") from None
    by_language: dict[Language, dict[str, tuple[str, ...]]] = {}
    for language, sections in content.items():
        if language not in get_args(Language) or not isinstance(sections, dict):
            fix = "Write [zh.summary] or [en.summary]"
            raise ConfigurationError(f"{path} has {language!r}, which is not a language. {fix}.")
        by_language[language] = dict(_sections(path, language, sections))  # type: ignore[index]
    return by_language


def _sections(path: Path, language: str, sections: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for section, templates in sections.items():
        for name, value in templates.items() if isinstance(templates, dict) else [("", None)]:
            sentences = [value] if isinstance(value, str) else value
            if not (
                isinstance(sentences, list)
                and sentences
                and all(isinstance(sentence, str) and sentence.strip() for sentence in sentences)
            ):
                raise ConfigurationError(
                    f"{path} has {name or section!r} under [{language}.{section}], not a text or list of texts."
                )
            yield f"{section}.{name}", tuple(sentences)


def check_templates(plugins: Plugins, templates: Templates) -> None:
    """Check that the templates exist, and that they use only known placeholders.

    Raises:
        ConfigurationError: with the template and the placeholders that it may use.
        PluginNotFound: there is no such textualizer.
    """
    for name, sentences in templates.items():
        section, _, template = name.partition(".")
        if section == VERBS:
            templates_by_name: Mapping[str, Mapping[Language, str]] = {kind: {} for kind in KINDS}
        else:
            templates_by_name = plugins.find("textualizer", section).load().templates
        if template not in templates_by_name:
            fix = did_you_mean(template, templates_by_name) or f" There are: {', '.join(templates_by_name) or 'none'}."
            raise ConfigurationError(f"{section} has no template {template!r}.{fix}")
        allowed = set().union(*(fields(sentence) for sentence in templates_by_name[template].values()))
        for sentence in sentences:
            unknown = sorted(fields(sentence) - allowed) + re.findall(r"[{}].*", _FIELD.sub("", sentence))
            if unknown:
                usable = ", ".join(f"{{{field}}}" for field in sorted(allowed)) or "no names"
                raise ConfigurationError(
                    f"The template {name} cannot use {unknown[0]!r} in {sentence!r}: it may use {usable}."
                )

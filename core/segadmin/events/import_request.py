"""What an import reads, and with which source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.source import Source, refuse_folder
from segadmin.errors import DataError
from segadmin.events.mapping import Mapping
from segadmin.paths import local_path
from segadmin.settings import Settings
from segadmin.urls import fill_in_options, mask_url, url_problem


@dataclass(frozen=True)
class ImportRequest:
    """An import: the data, its format and its mapping."""

    table: str  #: events, items or labels
    where: str  #: a path, or the URL for a source
    mapping: Mapping = field(default_factory=Mapping)
    source: str | None = None  #: default: by the file's suffix, or the URL's scheme
    options: dict[str, Any] = field(default_factory=dict)  #: options of the source
    again: bool = False  #: import even if the same file was imported before
    label_set: str = ""  #: for labels
    segments: tuple[str, ...] = ()  #: for labels: their order; default: order of appearance

    def with_vectors_of(self, source: Source) -> ImportRequest:
        """Return the request with the vectors that ``source`` yields, if it names none itself."""
        if self.mapping.vectors or not source.vectors:
            return self
        return replace(self, mapping=self.mapping.model_copy(update={"vectors": dict(source.vectors)}))

    @property
    def name(self) -> str:
        """The file's base name, or the URL without its password."""
        path = local_path(self.where)
        return mask_url(self.where) if path is None else path.absolute().name

    @property
    def place(self) -> str:
        """:attr:`where` for sources: a path, also for a ``file://`` URL, or a URL."""
        path = local_path(self.where)
        return self.where if path is None else str(path)

    @property
    def record_table(self) -> str:
        """The table as records of imports name it: with the label set, for labels."""
        return f"labels:{self.label_set}" if self.table == "labels" else self.table

    @property
    def reading(self) -> str:
        """A digest of source, options and mapping, because commits with another mapping belong to another import."""
        text = f"{self.source} {sorted(self.options.items())} {self.mapping.model_dump_json()}"
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def source_of(settings: Settings, request: ImportRequest) -> Source:
    """Return the source for the request: the one it names, else the one for its suffix or URL.

    Raises:
        ConfigurationError: an option is unknown, or names an environment variable that is not set.
        DataError: the source cannot be determined.
    """
    # A client would quote parts of a malformed URL in its messages.
    if local_path(request.where) is None and (problem := url_problem(request.where)):
        raise DataError(f"{request.name!r} cannot be read: {problem}.")
    plugins = load_plugins(settings)
    choice = request.mapping.source
    name = request.source or plugins.choose("source", lambda source: source.takes(request.place)) or choice.name
    if name is None:
        refuse_folder(request.place)
        raise DataError(
            f"It is not clear what kind of source {request.name} is. "
            f"Add --source; there are: {', '.join(plugins.names('source'))}.{plugins.failures}"
        )
    options = choice.options if name == choice.name else {}
    source: Source = plugins.make("source", name, fill_in_options(options | request.options))
    return source

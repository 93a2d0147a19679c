"""``segadmin report``: a snapshot for business people, as one file with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.timezones import zone
from segadmin_api.cli.output import JsonOption, UsageError, echo, save_page, show_json
from segadmin_api.cli.remote import answer

if TYPE_CHECKING:
    from segadmin_api.client import Client


class Language(StrEnum):
    """The languages of reports; a test compares them with those of pages."""

    EN = "en"
    ZH = "zh"


def report(
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's number, or `current`.")
    ] = "current",
    html: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    charts: Annotated[Path | None, typer.Option(help="Write its charts, as SVG files, to this folder.")] = None,
    language: Annotated[Language, typer.Option(help="The language of the report and of its charts.")] = Language.EN,
    timezone: Annotated[str, typer.Option(help="The time zone of the report, such as Asia/Shanghai.")] = "UTC",
    label_set: Annotated[
        str | None, typer.Option("--label-set", "--labels", help="The label set; needed if several have a snapshot.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report of a snapshot: segments, trend, movement, quality and drift in pictures, numbers and words.

    It is one file that can be mailed and printed, and holds nothing about single users.
    """
    if html is None and charts is None and not as_json:
        raise UsageError("What to write is missing. Add --html report.html, --charts FOLDER or --json.")
    asked = _Asked(snapshot, label_set, html, charts, language.value, timezone)
    number, facts, files = answer(
        lambda settings: _write(settings, asked), lambda client: _write_there(client, asked, facts=as_json)
    )
    if as_json:
        show_json(facts | {"files": [str(path) for path in files]})
        return
    if html is not None:
        echo(f"Wrote the report of snapshot {number} to {html}. Open it in a browser, mail or print it.")
    if charts is not None:
        echo(f"Wrote {counted(len(files) - (html is not None), 'chart')} to {charts}.")


@dataclass(frozen=True)
class _Asked:
    """Which report is written, and to which files."""

    snapshot: str
    label_set: str | None
    html: Path | None
    charts: Path | None
    language: str
    timezone: str


#: The number of the snapshot, the report as JSON, and the files that were written.
Written = tuple[int, dict[str, Any], list[Path]]


def _write(settings: Settings, asked: _Asked) -> Written:
    from segadmin.monitoring.snapshot_report import read_report, report_facts
    from segadmin_api.dashboard.reader import Reader
    from segadmin_api.dashboard.report import charts, page
    from segadmin_api.dashboard.svg import as_file

    reader = Reader(language=asked.language, zone=zone(asked.timezone).key)
    report = read_report(settings, asked.snapshot, asked.label_set)
    files: list[Path] = []
    if asked.html is not None:
        save_page(asked.html, page(report, reader=reader))
        files.append(asked.html)
    if asked.charts is not None:
        files += _save_charts(asked.charts, {name: as_file(each) for name, each in charts(report, reader).items()})
    return report.snapshot.id or 0, report_facts(report), files


def _write_there(client: Client, asked: _Asked, *, facts: bool) -> Written:
    """Write the report of a server; its ``facts`` are read if they are asked for."""
    zone(asked.timezone)
    number = client.show_snapshot(asked.snapshot, labels=asked.label_set).id
    form = {"language": asked.language, "zone": asked.timezone}
    files: list[Path] = []
    if asked.html is not None:
        client.save_report(asked.html, number, **form)
        files.append(asked.html)
    if asked.charts is not None:
        files += _save_charts(asked.charts, client.show_report_charts(number, **form).charts)
    return number, client.show_report(number).model_dump() if facts else {}, files


def _save_charts(folder: Path, pictures: dict[str, str]) -> list[Path]:
    """Write pictures as ``NAME.svg`` to a folder, which is made if it is missing."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be made: {error.strerror}. Name one in a folder that exists."
        ) from None
    paths = {folder / f"{name}.svg": picture for name, picture in pictures.items()}
    for path, picture in paths.items():
        save_page(path, picture)
    return list(paths)

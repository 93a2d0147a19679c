"""``segadmin report``: a snapshot for business people, as one file with pictures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.errors import ConfigurationError
from segadmin.settings import get_settings
from segadmin.timezones import zone
from segadmin_api.cli.output import JsonOption, UsageError, echo, save_page, show_json
from segadmin_api.cli.remote import connected, refuse_options


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
    refuse_options(charts=charts, json=as_json)
    if get_settings().server is not None:
        assert html is not None
        with connected(get_settings()) as client:
            number = client.show_snapshot(snapshot, labels=label_set).id
            client.save_report(html, number, language=language.value, zone=timezone)
        echo(f"Wrote the report of snapshot {number} to {html}. Open it in a browser, mail or print it.")
        return
    from segadmin.monitoring.snapshot_report import read_report, report_facts
    from segadmin_api.dashboard.reader import Reader
    from segadmin_api.dashboard.report import charts as drawn
    from segadmin_api.dashboard.report import page

    reader = Reader(language=language.value, zone=zone(timezone).key)
    facts = read_report(get_settings(), snapshot, label_set)
    files: list[Path] = []
    if html is not None:
        save_page(html, page(facts, reader=reader))
        files.append(html)
    if charts is not None:
        files += _save_charts(charts, drawn(facts, reader))
    if as_json:
        show_json(report_facts(facts) | {"files": [str(path) for path in files]})
        return
    if html is not None:
        echo(f"Wrote the report of snapshot {facts.snapshot.id} to {html}. Open it in a browser, mail or print it.")
    if charts is not None:
        echo(f"Wrote {counted(len(files) - (html is not None), 'chart')} to {charts}.")


def _save_charts(folder: Path, pictures: dict[str, Any]) -> list[Path]:
    """Write pictures as ``NAME.svg`` to a folder, which is made if it is missing."""
    from segadmin_api.dashboard.svg import as_file

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be made: {error.strerror}. Name one in a folder that exists."
        ) from None
    paths = {folder / f"{name}.svg": picture for name, picture in pictures.items()}
    for path, picture in paths.items():
        save_page(path, as_file(picture))
    return list(paths)

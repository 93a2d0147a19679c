"""``segadmin data preview --guess``: a mapping for a file, proposed and not used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segadmin.errors import ConfigurationError
from segadmin_api.cli.output import show_json

if TYPE_CHECKING:
    from segadmin.events.guess import Proposal
    from segadmin.events.preview import Preview


@dataclass(frozen=True)
class NextCommands:
    """What to type after a proposal."""

    events: Sequence[str]  #: to import the events: first to save the mapping, where it is no shipped one
    items: str | None  #: to import the items that the same file describes


def show_proposal(
    found: Proposal, name: str, commands: NextCommands, show: Callable[[Preview], None], *, as_json: bool
) -> None:
    """Print the mapping that probably fits a file, how sure that is, and the commands that use it.

    Args:
        found: the mapping.
        name: what the file is called.
        commands: what to type next.
        show: prints how the rows would be read.
        as_json: print JSON instead.
    """
    if as_json:
        show_json(found.model_dump(mode="json") | {"commands": commands.events, "items_command": commands.items})
        return
    typer.echo(f"{name} ({found.sure}): {found.title}.")
    typer.echo(f"The mapping{f', shipped as {found.layout}' if found.as_shipped else ''}:\n")
    typer.echo("\n".join(f"    {line}".rstrip() for line in found.mapping.splitlines()) + "\n")
    if found.preview is not None:
        show(found.preview.model_copy(update={"warnings": []}))
    for warning in found.warnings:
        typer.echo(f"Note: {warning}")
    when = "To import" if found.preview is not None else "When what is open in the mapping is filled in"
    typer.echo(f"Nothing was imported. {when}: {' && '.join(commands.events)}")
    if commands.items:
        typer.echo(f"The same file describes the items: {commands.items}")


def save_mapping(text: str, path: Path) -> None:
    """Write a proposed mapping to a new file.

    Raises:
        ConfigurationError: there is a file, or it cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already. Remove it, or name another file: --save FILE.toml"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. Name a folder that is there.") from None
    typer.echo(f"Wrote the mapping to {path}.", err=True)

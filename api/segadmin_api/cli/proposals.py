"""``segadmin data preview --guess``: proposes a mapping for a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segadmin.errors import ConfigurationError
from segadmin_api.cli.output import echo, show_json

if TYPE_CHECKING:
    from segadmin.events.guess import Proposal
    from segadmin.events.preview import Preview


@dataclass(frozen=True)
class NextCommands:
    """The commands that use a proposal."""

    events: Sequence[str]  #: import the events, after saving the mapping if it is not a shipped one
    items: str | None  #: imports the items that the same file describes


def show_proposal(
    proposal: Proposal, name: str, commands: NextCommands, show: Callable[[Preview], None], *, as_json: bool
) -> None:
    """Print the mapping that probably fits a file, its confidence, and the commands that use it.

    Args:
        proposal: the proposed mapping.
        name: the name of the file.
        commands: the commands that use the mapping.
        show: prints a preview of the rows.
        as_json: print JSON instead.
    """
    if as_json:
        show_json(proposal.model_dump(mode="json") | {"commands": commands.events, "items_command": commands.items})
        return
    echo(f"{name} ({proposal.sure}): {proposal.title}.")
    echo(f"The mapping{f', shipped as {proposal.layout}' if proposal.as_shipped else ''}:\n")
    echo("\n".join(f"    {line}".rstrip() for line in proposal.mapping.splitlines()) + "\n")
    if proposal.preview is not None:
        show(proposal.preview.model_copy(update={"warnings": []}))
    for warning in proposal.warnings:
        echo(f"Note: {warning}")
    when = "To import" if proposal.preview is not None else "After completing the mapping"
    echo(f"Nothing was imported. {when}: {' && '.join(commands.events)}")
    if commands.items:
        echo(f"The same file describes the items: {commands.items}")


def save_mapping(text: str, path: Path) -> None:
    """Write a proposed mapping to a new file.

    Raises:
        ConfigurationError: the file exists already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already. Remove it, or name another file: --save FILE.toml") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. Name a folder that exists.") from None
    echo(f"Wrote the mapping to {path}.", err=True)

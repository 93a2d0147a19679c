"""``segadmin backbones``: the registered backbones, and the pretrained weights on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import JsonOption, echo, group, parse_options, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.plugin_details import all_backbones
from segadmin_api.schemas.data import Backbone, BackboneCheck

app = group("Backbones, and the pretrained weights on this machine.")

Model = Annotated[str, typer.Argument(help="A registered name, a Hugging Face id (bert-base-chinese), or a folder.")]
BackboneOption = Annotated[
    list[str] | None,
    typer.Option("--backbone-option", metavar="KEY=VALUE", help="Option of the backbone, such as tuner=lora."),
]
From = Annotated[
    Path | None, typer.Option("--from", help="A folder from which to copy the model into SEGADMIN_WEIGHTS.")
]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the registered backbones, and the pretrained models on this machine."""
    known = answer(all_backbones, lambda client: client.list_backbones())
    if as_json:
        facts = [
            {"name": each.name, "default_for": each.default_for, "problem": each.problem, "from": each.distribution}
            for each in known.items
        ]
        show_json({"backbones": facts, "models": [model.model_dump() for model in known.models]})
        return
    where = "on this machine" if get_settings().server is None else "on the server's machine"
    table(
        "backbones",
        ["name", "default for", "usable", "from"],
        [
            (each.name, " ".join(each.default_for), "yes" if each.problem is None else "no", each.distribution)
            for each in known.items
        ],
    )
    usable = {True: "yes", False: "no safetensors"}
    table(
        f"pretrained models {where}",
        ["model", ">size", "usable", "folder"],
        [(model.name, f"{model.size / 2**20:,.0f} MiB", usable[model.usable], model.where) for model in known.models],
        empty=f"There is no downloaded model {where}. Download one: segadmin backbones pull bert-base-chinese; "
        f"or use one from a package: {_packaged(known.items)}",
    )


def _packaged(registered: list[Backbone]) -> str:
    """Return the options for the defaults, each with what is missing."""
    return ", or ".join(
        f"--backbone {each.name} ({'/'.join(each.default_for)}; {each.problem or 'its weights are here'})"
        for each in registered
        if each.default_for
    )


@app.command()
def pull(model: Model, source: From = None, as_json: JsonOption = False) -> None:
    """Download a pretrained model from the hub or the mirror in HF_ENDPOINT, or copy it from a folder."""
    from segadmin_plugins.backbones.transformer.weights_cache import pull as download

    pulled = download(model, get_settings(), source)
    if as_json:
        show_json(asdict(pulled))
        return
    echo(f"{pulled.name}: {pulled.size / 2**20:,.0f} MiB in {pulled.where}")


@app.command()
def check(model: Model, backbone_option: BackboneOption = None, as_json: JsonOption = False) -> None:
    """Check that a backbone works on this machine: libraries, files, model, tokenizer, and a fit on a few texts."""
    options = parse_options(backbone_option or [], "--backbone-option")
    checked = answer(
        lambda settings: _check(settings, model, options), lambda client: client.check_backbone(model, options=options)
    )
    if as_json:
        show_json(checked.model_dump())
        return
    compared, folder = checked.compared, checked.folder
    files = f", {compared} files as they were pulled" if compared else ""
    name = checked.model if checked.backbone == "hf" else model
    echo(f"{name} can be used" + (f": {folder}{files}" if folder else ""))
    for note in checked.notes:
        echo(f"  {note}")


def _check(settings: Settings, model: str, overrides: dict[str, str]) -> BackboneCheck:
    """Check a backbone on this machine.

    Raises:
        BackboneUnavailable: it cannot be used.
    """
    from segadmin_plugins.backbones.transformer.weights_cache import verify
    from segadmin_plugins.backbones.transformer.weights_lookup import locate

    plugins = load_plugins(settings)
    name, options = resolve_backbone(plugins, model, overrides)
    backbone = plugins.make("backbone", name, options)
    folder, compared = None, 0
    if name == "hf":
        model = str(options.get("model", model))
        if locate(model, settings) is None:
            backbone.check(settings)  # raises, and names the folders that were searched
        folder, compared = verify(model, settings)
    backbone.check(settings)
    return BackboneCheck(
        backbone=name,
        model=options.get("model"),
        folder=str(folder or ""),
        compared=compared,
        notes=list(backbone.try_run(settings)),
    )

"""``segadmin backbones``: the registered backbones, and the pretrained weights on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from segadmin.contracts.plugins import Plugins, describe, load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import INTERRUPTS, SegadminError
from segadmin.settings import get_settings
from segadmin.workflows.backbone_options import DEFAULT_BACKBONES
from segadmin_api.cli.output import JsonOption, echo, group, parse_options, show_json, table

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
    from segadmin_plugins.backbones.transformer.weights_cache import kept

    settings = get_settings()
    plugins = load_plugins(settings)
    registered = [_facts(plugins, name) for name in plugins.names("backbone")]
    models = kept(settings)
    if as_json:
        show_json({"backbones": registered, "models": [asdict(model) for model in models]})
        return
    table(
        "backbones",
        ["name", "default for", "usable here", "from"],
        [
            (row["name"], " ".join(row["default_for"]), "yes" if row["problem"] is None else "no", row["from"])
            for row in registered
        ],
    )
    usable = {True: "yes", False: "no safetensors"}
    table(
        "pretrained models on this machine",
        ["model", ">size", "usable", "folder"],
        [(model.name, f"{model.size / 2**20:,.0f} MiB", usable[model.usable], model.where) for model in models],
        empty="There is no downloaded model on this machine. Download one: segadmin backbones pull bert-base-chinese; "
        f"or use one from a package: {_packaged(registered)}",
    )


def _facts(plugins: Plugins, name: str) -> dict[str, Any]:
    """Return a backbone's name, the languages of which it is the default, and why it cannot be used here, if so."""
    problem = None
    try:
        plugins.make("backbone", name).check(plugins.settings)
    except SegadminError as error:
        problem = str(error) if name != "hf" else "It needs a model: --backbone-option model=…"
    except INTERRUPTS:
        raise
    except BaseException as error:  # of somebody else's plugin
        problem = describe(error)
    return {
        "name": name,
        "default_for": [language for language, default in DEFAULT_BACKBONES.items() if default == name],
        "problem": problem,
        "from": plugins.find("backbone", name).distribution,
    }


def _packaged(registered: list[dict[str, Any]]) -> str:
    """Return the options for the defaults, each with what is missing."""
    return ", or ".join(
        f"--backbone {row['name']} ({'/'.join(row['default_for'])}; {row['problem'] or 'its weights are here'})"
        for row in registered
        if row["default_for"]
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
    from segadmin_plugins.backbones.transformer.weights_cache import verify
    from segadmin_plugins.backbones.transformer.weights_lookup import locate

    settings = get_settings()
    plugins = load_plugins(settings)
    overrides = parse_options(backbone_option or [], "--backbone-option")
    name, options = resolve_backbone(plugins, model, overrides)
    backbone = plugins.make("backbone", name, options)
    folder, compared = None, 0
    if name == "hf":
        model = str(options.get("model", model))
        if locate(model, settings) is None:
            backbone.check(settings)  # raises, and names the folders that were searched
        folder, compared = verify(model, settings)
    backbone.check(settings)
    notes = backbone.try_run(settings)
    if as_json:
        facts = {"backbone": name, "model": options.get("model"), "folder": str(folder or "")}
        show_json({**facts, "compared": compared, "notes": notes})
        return
    files = f", {compared} files as they were pulled" if compared else ""
    echo(f"{model} can be used" + (f": {folder}{files}" if folder else ""))
    for note in notes:
        echo(f"  {note}")

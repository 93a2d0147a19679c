"""``segadmin backbones``: which models can read users, and the pretrained weights on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, group, parse_options, show_json, table

app = group("Which models can read users, and the pretrained weights on this machine.")

Model = Annotated[str, typer.Argument(help="A registered name, a Hugging Face id (bert-base-chinese), or a folder.")]
BackboneOption = Annotated[
    list[str] | None,
    typer.Option("--backbone-option", metavar="KEY=VALUE", help="Option to check it with, such as tuner=lora."),
]
From = Annotated[Path | None, typer.Option("--from", help="A folder to copy it from, into SEGADMIN_WEIGHTS.")]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the registered backbones, and the pretrained models on this machine."""
    from segadmin_plugins.backbones.transformer.weights_cache import kept

    settings = get_settings()
    plugins = load_plugins(settings)
    names = plugins.names("backbone")
    registered = [{"name": name, "from": plugins.find("backbone", name).distribution} for name in names]
    models = kept(settings)
    if as_json:
        show_json({"backbones": registered, "models": [asdict(one) for one in models]})
        return
    table("backbones", ["name", "from"], [list(one.values()) for one in registered])
    usable = {True: "yes", False: "no safetensors"}
    table(
        "pretrained models on this machine",
        ["model", ">size", "usable", "folder"],
        [(one.name, f"{one.size / 2**20:,.0f} MiB", usable[one.usable], one.where) for one in models],
        empty="No pretrained model is here yet. Bring one: segadmin backbones pull bert-base-chinese",
    )


@app.command()
def pull(model: Model, source: From = None, as_json: JsonOption = False) -> None:
    """Bring a pretrained model here: from the hub or the mirror that HF_ENDPOINT names, or from a folder."""
    from segadmin_plugins.backbones.transformer.weights_cache import pull as bring

    done = bring(model, get_settings(), source)
    if as_json:
        show_json(asdict(done))
        return
    typer.echo(f"{done.name}: {done.size / 2**20:,.0f} MiB in {done.where}")


@app.command()
def check(model: Model, backbone_option: BackboneOption = None, as_json: JsonOption = False) -> None:
    """Check that a backbone can be used here: libraries, files, model and tokenizer, and a fit on a few texts."""
    from segadmin_plugins.backbones.transformer.weights_cache import verify
    from segadmin_plugins.backbones.transformer.weights_lookup import locate

    settings = get_settings()
    plugins = load_plugins(settings)
    given = parse_options(backbone_option or [], "--backbone-option")
    name, options = resolve_backbone(plugins, model, given)
    backbone = plugins.make("backbone", name, options)
    folder, compared = None, 0
    if name == "hf":
        model = str(options.get("model", model))
        if locate(model, settings) is None:
            backbone.check(settings)  # says where it was looked for
        folder, compared = verify(model, settings)
    backbone.check(settings)
    notes = backbone.try_run(settings)
    if as_json:
        facts = {"backbone": name, "model": options.get("model"), "folder": str(folder or "")}
        show_json({**facts, "compared": compared, "notes": notes})
        return
    files = f", {compared} files as they were pulled" if compared else ""
    typer.echo(f"{model} can be used" + (f": {folder}{files}" if folder else ""))
    for note in notes:
        typer.echo(f"  {note}")

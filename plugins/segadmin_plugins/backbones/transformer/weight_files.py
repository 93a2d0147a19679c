"""Checks of the files of a pretrained model, without torch and transformers, for use when enqueuing."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segadmin.errors import BackboneUnavailable, ConfigurationError

_INDEX = "model.safetensors.index.json"
_LFS = b"version https://git-lfs"
#: The first eight bytes of a safetensors file are the length of its header, which is no longer than this.
_LENGTH, _LONGEST_HEADER = 8, 100_000_000
#: Names of the embedding table in the files.
_EMBEDDINGS = ("word_embeddings.weight", "embed_tokens.weight", "wte.weight", "shared.weight", "tok_embeddings.weight")
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "*.model", "*.spm", "*.vocab")
#: Where transformers lists the model types that it has a sequence classifier for, and those that predict masked tokens.
_CLASSIFIERS = "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"
_MASKED = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"

Header = dict[str, Any]


def check_files(model: str, folder: Path) -> None:
    """Check that the files in ``folder`` are complete, belong together, and are of a kind that can be fine-tuned.

    Only headers and configuration are read, which is quick for any size.

    Raises:
        BackboneUnavailable: they are not; the message names the file and any two numbers that differ.
    """
    config = read_config(model, folder)
    _check_kind(model, config)
    headers = {path.name: read_header(model, path) for path in _weight_files(model, folder)}
    rows = _embedding_rows(headers)
    vocabulary = config.get("vocab_size")
    if isinstance(vocabulary, int) and rows is not None and rows != vocabulary:
        raise _unusable(
            model,
            f"config.json says vocab_size={vocabulary:,}, the embedding in the weights has {rows:,} rows",
            "Download config.json and the weights of one model.",
        )
    ids = _highest_id(model, folder)
    rows = rows if rows is not None else vocabulary
    if ids is not None and isinstance(rows, int) and ids + 1 > rows:
        raise _unusable(
            model,
            f"its tokenizer has {ids + 1:,} ids, the embedding {rows:,} rows: they are not of one model",
            "Download both again, or save both after model.resize_token_embeddings(len(tokenizer)).",
        )


def read_config(model: str, folder: Path) -> dict[str, Any]:
    """Return the content of config.json.

    Raises:
        BackboneUnavailable: it is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unusable(model, f"{path} cannot be read: {error}", "Download it again.") from None
    if not isinstance(config, dict):
        raise _unusable(model, f"{path} holds no JSON object", "Download it again.")
    return config


def read_header(model: str, path: Path) -> Header:
    """Return the names, types and shapes of the tensors in a safetensors file.

    Raises:
        BackboneUnavailable: it is not a safetensors file, or is cut off.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH)
            if (start + file.read(len(_LFS) - _LENGTH)) == _LFS:
                raise _unusable(model, f"{path} is a pointer of Git LFS, not the weights", "Run there: git lfs pull")
            file.seek(_LENGTH)
            length = int.from_bytes(start, "little")
            header = json.loads(file.read(length)) if len(start) == _LENGTH and length <= _LONGEST_HEADER else None
    except FileNotFoundError:
        raise _unusable(model, f"{path} is gone", "Download it again.") from None
    except (OSError, ValueError):
        header = None
    if not isinstance(header, dict):
        raise _unusable(model, f"{path} ({size:,} bytes) is no safetensors file, or is cut off", "Download it again.")
    end = max((tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"), default=0)
    if size != _LENGTH + length + end:
        raise _unusable(
            model, f"{path} has {size:,} bytes, its header says {_LENGTH + length + end:,}", "Download it again."
        )
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def check_decoder(model: str, config: Mapping[str, Any]) -> None:
    """Check that ``model`` predicts the next token, as a prompt needs.

    Raises:
        ConfigurationError: it does not.
    """
    if not is_decoder(config):
        raise ConfigurationError(
            f"prompt=classification is for decoders, such as Qwen and Llama, but {model!r} is of the kind "
            f"{config.get('model_type')!r}, which does not predict the next token. Leave prompt out."
        )


def is_decoder(config: Mapping[str, Any]) -> bool:
    """Whether a model with this configuration predicts the next token, and is no encoder-decoder."""
    return not config.get("is_encoder_decoder") and config.get("model_type") not in (_types_in(_MASKED) or ())


def classifiable() -> frozenset[str] | None:
    """Return the model types that transformers has a sequence classifier for; ``None`` if unknown."""
    return _types_in(_CLASSIFIERS)


def _types_in(mapping: str) -> frozenset[str] | None:
    """Return the model types in one of transformers' lists; ``None`` if unknown.

    They are parsed from its source, because importing it takes seconds.
    """
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "models" / "auto" / "modeling_auto.py"
    try:
        source = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return None
    for statement in source.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == mapping:
            pairs = [pair for pair in ast.walk(statement.value) if isinstance(pair, ast.Tuple) and pair.elts]
            types = {pair.elts[0].value for pair in pairs if isinstance(pair.elts[0], ast.Constant)}
            return frozenset(str(name) for name in types) or None
    return None


def _check_kind(model: str, config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    supported = classifiable()
    if supported is None or kind in supported:
        return
    if config.get("auto_map"):
        raise _unusable(
            model,
            f"its architecture ({kind or 'not named'}) is code of its own (auto_map in config.json), which is not run",
            "Use a model that transformers knows, such as bert-base-chinese.",
        )
    named = f"the model type {kind!r}" if kind else "no model_type"
    raise _unusable(
        model,
        f"its config.json has {named}, of which transformers has no sequence classifier",
        "Use an encoder (BERT), a decoder (Qwen2) or an encoder-decoder (BART, T5) that has one.",
    )


def _weight_files(model: str, folder: Path) -> list[Path]:
    """Return the files with weights.

    Raises:
        BackboneUnavailable: the index names one that is not there.
    """
    index = folder / _INDEX
    if not index.is_file() or (folder / "model.safetensors").is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _unusable(model, f"{index} cannot be read", "Download it again.") from None
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        raise _unusable(
            model,
            f"{len(lacking)} of {len(names)} files of weights are missing in {folder}, such as {lacking[0]}",
            "Download the others too.",
        )
    return [folder / name for name in names]


def _embedding_rows(headers: dict[str, Header]) -> int | None:
    shapes = [
        tensor["shape"] for header in headers.values() for name, tensor in header.items() if name.endswith(_EMBEDDINGS)
    ]
    return int(shapes[0][0]) if shapes and len({shape[0] for shape in shapes}) == 1 else None


def _highest_id(model: str, folder: Path) -> int | None:
    """Return the highest id of the tokenizer; ``None`` if its files do not show it.

    Raises:
        BackboneUnavailable: there is no tokenizer, or its file cannot be read.
    """
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise _unusable(model, f"{folder} has no tokenizer", "Save it there: tokenizer.save_pretrained(FOLDER)")
    path, words = folder / "tokenizer.json", folder / "vocab.txt"
    if path.is_file():
        from tokenizers import Tokenizer

        try:
            vocabulary = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
        except Exception as error:  # it raises bare exceptions
            raise _unusable(model, f"{path} cannot be read: {error}", "Download it again.") from None
        return max(vocabulary.values(), default=None)
    return len(words.read_bytes().splitlines()) - 1 if words.is_file() else None


def _unusable(model: str, why: str, advice: str) -> BackboneUnavailable:
    return BackboneUnavailable(f"{model!r} cannot be used: {why}. {advice}")

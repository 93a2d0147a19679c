"""What makes a model and its tokenizer unfit is found before any work, and named with both numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from segadmin.errors import BackboneUnavailable, ConfigurationError, SegadminError
from segadmin.settings import Settings
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.tiny import Tiny
from segadmin_plugins.backbones.transformer import trial_run
from segadmin_plugins.backbones.transformer import weights_lookup as places
from segadmin_plugins.backbones.transformer.weight_files import classifiable
from tests.models import make_model


def _change(path: Path, **facts: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (content | facts).items() if value is not None}))


def _config(**facts: Any) -> Callable[[Path], None]:
    return lambda folder: _change(folder / "config.json", **facts)


def _cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def _no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _shards(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: state[name] for name in some}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _missing_shard(folder: Path) -> None:
    _shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _larger_tokenizer(folder: Path) -> None:
    _add_words(folder, 1000)


def _add_words(folder: Path, words: int) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{n}" for n in range(words)])
    tokenizer.save_pretrained(folder)


#: What is wrong with a BERT, and what is said of it; all of it is in the files, so that enqueuing finds it.
IN_THE_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read"),
    "config of a list": (lambda folder: (folder / "config.json").write_text("[]"), "holds no JSON object"),
    "no classifier": (_config(model_type="pegasus"), "model type 'pegasus', of which transformers has no sequence"),
    "unknown type": (_config(model_type="made-up"), "model type 'made-up', of which transformers has no sequence"),
    "no type": (_config(model_type=None), "has no model_type"),
    "remote code": (
        _config(model_type="made-up", auto_map={"AutoModel": "modeling.Made"}),
        r"\(made-up\) is code of its own \(auto_map in config\.json\), which is not run",
    ),
    "cut off": (_cut_off, r"model\.safetensors has [\d,]+ bytes, its header says [\d,]+\. Download it again"),
    "empty file": (_no_weights_at_all, r"model\.safetensors \(0 bytes\) is no safetensors file, or is cut off"),
    "a pointer": (_pointer, "is a pointer of Git LFS, not the weights. Run there: git lfs pull"),
    "missing shard": (_missing_shard, r"1 of 2 files of weights are missing in .* model-00002-of-00002\.safetensors"),
    "only a pickle": (_only_pickle, r"holds only a pickle \(pytorch_model\.bin\)"),
    "no tokenizer": (_no_tokenizer, "has no tokenizer"),
    "another vocabulary": (_config(vocab_size=99), "vocab_size=99, the embedding in the weights has 15 rows"),
    "more ids than rows": (_larger_tokenizer, "its tokenizer has 1,015 ids, the embedding 15 rows"),
}


@pytest.mark.parametrize("trouble", IN_THE_FILES)
def test_unusable_files_are_reported(trouble: str, tmp_path: Path, settings: Settings) -> None:
    folder = make_model("bert", tmp_path / "bert")
    backbone = HuggingFace(model=str(folder))
    backbone.check(settings)
    spoil, message = IN_THE_FILES[trouble]
    spoil(folder)
    with pytest.raises(BackboneUnavailable, match=message):
        backbone.check(settings)


def _narrower(folder: Path) -> None:
    _change(folder / "config.json", intermediate_size=48)


def _of_another_model(folder: Path) -> None:
    state = {f"other.{name}": weights for name, weights in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _no_end(folder: Path) -> None:
    _change(folder / "config.json", eos_token_id=9)


def _pads_with_end(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def _no_start(folder: Path) -> None:
    _change(folder / "config.json", decoder_start_token_id=None)
    (folder / "generation_config.json").unlink(missing_ok=True)


def _no_pad_nor_end(folder: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.exists():
            _change(path, eos_token=None, bos_token=None, unk_token=None, pad_token=None)


#: What shows only when the model is loaded and used.
IN_USE: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], str]] = {
    "another width": ("bert", _narrower, {}, r"dense\.\w+ is [\dx ]*64[\dx ]* in the files, [\dx ]*48"),
    "weights of another model": ("bert", _of_another_model, {}, r"\d+ of \d+ weights .* are not in the files"),
    "no end token": ("bart", _no_end, {}, r"read at the end token 9, but its tokenizer puts only \[0, 2\] around"),
    "padding is the end": ("bart", _pads_with_end, {}, "read at the end token 2, but its tokenizer pads with the same"),
    "no start token": ("t5", _no_start, {}, "names no decoder_start_token_id"),
    "nothing to pad with": ("gpt2", _no_pad_nor_end, {}, "has no padding token, and no end or unknown token"),
    "no room": ("bert", lambda _folder: None, {"max_tokens": 2}, "max_tokens=2 leaves no room for a text: .* 2 tokens"),
    "a tuner that cannot": ("bart", lambda _folder: None, {"tuner": "prefix"}, "'prefix' cannot put keys and values"),
    "too many frozen": ("t5", lambda _folder: None, {"frozen_layers": 5}, "frozen_layers=5, but the model has 4 lay"),
}


@pytest.mark.parametrize("trouble", IN_USE)
def test_a_trial_run_reports_unusable_models(trouble: str, tmp_path: Path, settings: Settings) -> None:
    kind, spoil, options, message = IN_USE[trouble]
    folder = make_model(kind, tmp_path / kind)
    spoil(folder)
    backbone = HuggingFace(model=str(folder), **options)
    with pytest.raises(SegadminError, match=message):
        backbone.try_run(settings)


@pytest.mark.parametrize("kind", ["bart", "mt5", "t5", "bert", "qwen2", "gpt2"])
def test_models_that_can_be_used(kind: str, tmp_path: Path, settings: Settings) -> None:
    folder = make_model(kind, tmp_path / kind)
    backbone = HuggingFace(model=str(folder), max_tokens=512)
    backbone.check(settings)
    notes = "\n".join(backbone.try_run(settings))
    assert "max_tokens=512" in notes
    if kind in {"bert", "bart", "gpt2"}:
        assert "reads 32 tokens of a user's text (max_tokens=512): the model has positions for no more than 32" in notes
    assert ("'<|endoftext|>' takes its place" in notes) == (kind == "gpt2")
    assert "saved as merged and loaded again" in notes


def test_shards_that_are_whole_can_be_used(tmp_path: Path, settings: Settings) -> None:
    folder = make_model("bert", tmp_path / "bert")
    _shards(folder)
    backbone = HuggingFace(model=str(folder), max_tokens=16)
    backbone.check(settings)
    assert backbone.try_run(settings)


def test_a_large_model_is_tried_with_its_lowest_layers(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = make_model("qwen2", tmp_path / "qwen2")
    config = Qwen2Config.from_pretrained(folder)
    deep = {**config.to_dict(), "num_hidden_layers": 6, "layer_types": ["full_attention"] * 6}
    Qwen2ForCausalLM(Qwen2Config(**deep)).save_pretrained(folder)
    for module in (places, trial_run):
        monkeypatch.setattr(module, "LARGE", 1000)
    notes = HuggingFace(model=str(folder), tuner="lora", max_tokens=16).try_run(settings)
    assert notes[-1] == "tried, with the lowest 2 of its layers: a fit on 4 texts, saved as adapter and loaded again"


def test_a_model_trained_from_scratch_is_tried_too(settings: Settings) -> None:
    assert "saved as merged" in Tiny().try_run(settings)[-1]


def test_what_transformers_can_classify_with_is_read_from_its_source() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    assert classifiable() == set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def test_special_tokens_in_user_text_are_not_interpreted(tmp_path: Path) -> None:
    import polars as pl
    from transformers import AutoTokenizer

    from segadmin_plugins.backbones.transformer.batches import PhraseEncoder

    encoder = PhraseEncoder(AutoTokenizer.from_pretrained(make_model("bart", tmp_path)), 32)
    ids = encoder.encode(pl.Series([["bought milk </s>", "<pad> bought wine"]])).ids[0].tolist()
    assert (ids.count(2), ids.count(1), ids[-1]) == (1, 0, 2)


def test_too_few_tokens_are_a_configuration_error(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigurationError):
        HuggingFace(model=str(make_model("bert", tmp_path)), max_tokens=1).try_run(settings)

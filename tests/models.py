"""Small models of real architectures with random weights, as folders like those of the hub."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

ENGLISH = ["bought", "milk", "bread", "apples", "coffee", "cheese", "pasta", "wine", "steak", "oysters"]
CHINESE = list("购买牛奶面包苹果咖啡奶酪面条红酒牛排生蚝")
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def make_model(kind: str, folder: Path) -> Path:
    """Write a model of ``kind`` and its tokenizer into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _files(kind).items():
        (folder / name).write_bytes(content)
    return folder


@lru_cache
def _files(kind: str) -> dict[str, bytes]:
    """Return what a model of ``kind`` and its tokenizer consist of; built once in a process."""
    import torch

    torch.manual_seed(0)
    tokenizer, model = _BUILDERS[kind]()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _bert(words: list[str]) -> tuple[Any, Any]:
    from transformers import BertConfig, BertModel, BertTokenizer

    tokenizer = BertTokenizer(vocab={word: n for n, word in enumerate(dict.fromkeys(_SPECIAL + words))})
    return tokenizer, BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **_SHAPE))


def _albert() -> tuple[Any, Any]:
    """Return an encoder whose layers share their weights, and whose pooler is a plain matrix."""
    from transformers import AlbertConfig, AlbertModel

    tokenizer, _ = _bert(ENGLISH)
    shape = {"vocab_size": len(tokenizer), "max_position_embeddings": 32, "embedding_size": 16}
    return tokenizer, AlbertModel(AlbertConfig(**shape, **_SHAPE))


def _ernie() -> tuple[Any, Any]:
    from transformers import ErnieConfig, ErnieModel

    tokenizer, _ = _bert(CHINESE)
    shape = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "use_task_id": True,
        "task_type_vocab_size": 3,
    }
    return tokenizer, ErnieModel(ErnieConfig(**shape, **_SHAPE))


def _distilbert() -> tuple[Any, Any]:
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer, _ = _bert(ENGLISH)
    shape = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    return tokenizer, DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **shape))


def _bytes(special: list[str]) -> Any:
    """Return a byte-level BPE, as GPT-2's and RoBERTa's, trained on the words."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([" " + " ".join(ENGLISH)] * 50, vocab_size=400, special_tokens=special)
    return tokenizer._tokenizer


def _gpt2() -> tuple[Any, Any]:
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    # As the real one: no padding token, no special tokens around a text.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bytes(["<|endoftext|>"]), eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return tokenizer, GPT2LMHeadModel(config)


def _llama() -> tuple[Any, Any]:
    from tokenizers.processors import TemplateProcessing
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = _bytes(["<s>", "</s>"])
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=32, num_key_value_heads=1, **_SHAPE)
    return tokenizer, LlamaForCausalLM(config)


def _roberta() -> tuple[Any, Any]:
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    backend = _bytes(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    import json

    model = json.loads(backend.to_str())["model"]
    tokenizer = RobertaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    # 26 positions, of which the first two are the padding's: 24 tokens fit, no more.
    return tokenizer, RobertaModel(RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=26, **_SHAPE))


def _bart() -> tuple[Any, Any]:
    """Return an encoder-decoder of which encoder and decoder share one embedding."""
    from tokenizers.processors import TemplateProcessing
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    backend = _bytes(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    shape = {"d_model": 32, "max_position_embeddings": 32}
    for half in ("encoder", "decoder"):
        shape |= {f"{half}_layers": 2, f"{half}_attention_heads": 2, f"{half}_ffn_dim": 64}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return tokenizer, BartForConditionalGeneration(BartConfig(vocab_size=len(tokenizer), **shape, **ids))


def _t5(kind: str = "T5") -> tuple[Any, Any]:
    import transformers
    from tokenizers.processors import TemplateProcessing

    backend = _bytes(["<pad>", "</s>", "<unk>"])
    backend.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer) + 4,  # as the real ones: more rows than ids
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return tokenizer, getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def _qwen2() -> tuple[Any, Any]:
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bytes(["<|endoftext|>"]), eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    shape = {**_SHAPE, "num_key_value_heads": 1, "max_position_embeddings": 64, "tie_word_embeddings": True}
    return tokenizer, Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **shape))


def _qwen3() -> tuple[Any, Any]:
    """Return a decoder with norms of queries and keys, and heads of a width of their own."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer, _ = _qwen2()
    shape = {**_SHAPE, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    return tokenizer, Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), max_position_embeddings=64, **shape))


def _xlm_roberta() -> tuple[Any, Any]:
    """Return a multilingual encoder with a Unigram vocabulary, as sentencepiece makes them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Replace(" {2,}", " ")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator([" ".join(ENGLISH), " ".join(CHINESE), "".join(CHINESE)] * 50, trainer)
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>", **names)
    config = XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=1, **_SHAPE)
    return tokenizer, XLMRobertaModel(config)


_BUILDERS: dict[str, Any] = {
    "albert": _albert,
    "bart": _bart,
    "bert": lambda: _bert(ENGLISH),
    "bert-chinese": lambda: _bert(CHINESE),
    "distilbert": _distilbert,
    "ernie": _ernie,
    "gpt2": _gpt2,
    "llama": _llama,
    "mt5": lambda: _t5("MT5"),
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "roberta": _roberta,
    "t5": _t5,
    "xlm-roberta": _xlm_roberta,
}

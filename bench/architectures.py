"""Which architectures of Hugging Face the backbone ``hf`` reads: each is fitted, saved, loaded and pretrained.

The models have the real code of their architecture, a few small layers and random weights, so that the outcome says
whether the architecture works and nothing about its quality. ``packed`` architectures are read by the engine ``torch``
without padding, the others by transformers. Last line: JSON.

    python -m bench.architectures [--kinds modernbert,gemma3_text]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from segadmin.contracts.backbone import FitContext, Pretraining
from segadmin.contracts.plugin_errors import describe
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import EngineUnavailable, SegadminError
from segadmin.settings import Settings
from segadmin.testing.backbones import check_backbone, planted

_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_POSITIONS = {"max_position_embeddings": 64}
_GROUPED = {"num_key_value_heads": 1}
_HEADS = {"head_dim": 16}
#: Type of a model, as configurations name it → models that have it, and how it is made small.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "albert": ("ALBERT", {"embedding_size": 16}),
    "bert": ("BERT, bge, gte-base, e5-base", {}),
    "camembert": ("CamemBERT", {}),
    "deberta-v2": ("DeBERTa-v3, mDeBERTa", {}),
    "electra": ("ELECTRA, Chinese ELECTRA", {"embedding_size": 16}),
    "ernie": ("ERNIE", {}),
    "eurobert": ("EuroBERT", _GROUPED),
    "megatron-bert": ("Erlangshen", {}),
    "modernbert": ("ModernBERT, mmBERT, gte-modernbert", {}),
    "mpnet": ("all-mpnet", {}),
    "nystromformer": ("Nyströmformer", {"segment_means_seq_len": 64, "num_landmarks": 64}),
    "rembert": ("RemBERT", {"input_embedding_size": 16, "output_embedding_size": 16}),
    "roberta": ("RoBERTa", {}),
    "roformer": ("RoFormer", {"embedding_size": 32}),
    "xlm-roberta": ("XLM-R, bge-m3, multilingual-e5", {}),
    "bloom": ("BLOOM", {"n_layer": 2, "n_head": 2}),
    "falcon": ("Falcon", {}),
    "gemma": ("Gemma", _GROUPED | _HEADS),
    "gemma2": ("Gemma 2", _GROUPED | _HEADS),
    "gemma3_text": ("Gemma 3", _GROUPED | _HEADS),
    "glm4": ("GLM-4", _GROUPED | _HEADS),
    "gpt2": ("GPT-2, Chinese GPT-2", {"n_embd": 32, "n_layer": 2, "n_head": 2}),
    "gpt_neox": ("Pythia", {}),
    "llama": ("Llama, Yi", _GROUPED),
    "mistral": ("Mistral", _GROUPED | _HEADS),
    "olmo2": ("OLMo 2", _GROUPED),
    "opt": ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "phi3": ("Phi-3", _GROUPED),
    "qwen2": ("Qwen 2, Qwen 2.5", _GROUPED),
    "qwen3": ("Qwen 3", _GROUPED | _HEADS),
    "smollm3": ("SmolLM3", _GROUPED),
    "t5": (
        "T5, mT5",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    ),
}
_OPTIONS = {"max_tokens": 24, "epochs": 2, "batch_size": 16, "learning_rate": 2e-3, "head_steps": 60}
#: The ids of the special tokens are the same in every model.
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def make(kind: str, folder: Path) -> None:
    """Write a small model of ``kind`` with random weights, and a byte-level tokenizer, into ``folder``."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as DECODERS
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

    bytes_only = ByteLevelBPETokenizer()
    words = " bought milk bread apples coffee cheese pasta wine steak oysters"
    bytes_only.train_from_iterator([words] * 50, vocab_size=400, special_tokens=list(_SPECIAL.values()))
    backend = bytes_only._tokenizer
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **_SPECIAL)
    tokenizer.save_pretrained(folder)
    ids = {f"{name.removesuffix('_token')}_token_id": number for number, name in enumerate(list(_SPECIAL)[:3])}
    small = {**_SHAPE, **_POSITIONS, **ids, **KINDS[kind][1], "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **small)
    is_decoder = kind in DECODERS and kind not in ENCODERS
    (AutoModelForCausalLM if is_decoder else AutoModel).from_config(config).save_pretrained(folder)


def outcome(step: Any) -> str:
    """Return ``yes`` if a step ends, or why it does not."""
    try:
        step()
    except (SegadminError, AssertionError) as error:
        return str(error)
    except Exception as error:
        return describe(error)
    return "yes"


def measure(kind: str, settings: Settings, work: Path) -> dict[str, str]:
    """Return what works with ``kind``."""
    source = work / "model"
    try:
        make(kind, source)
    except Exception as error:
        return {"fit": f"this version of transformers does not make it: {describe(error)}"}
    backbone = load_plugins(settings).make("backbone", "hf", _OPTIONS | {"model": str(source)})
    texts, run = planted(64), FitContext(settings, work / "pretraining")
    run.checkpoints.mkdir()
    return {
        "fit": outcome(lambda: check_backbone(backbone, settings, work / "fit", rows=96)),
        "packed": outcome(lambda: _read_packed(source)),
        "pretrain": outcome(lambda: backbone.pretrain(texts, planted(16, seed=1), run, Pretraining())),
    }


def _read_packed(source: Path) -> None:
    import numpy as np
    from transformers import AutoModelForSequenceClassification

    from segadmin.ragged import Ragged
    from segadmin_plugins.engines.packed_text import packed_like

    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=3).eval()
    random = np.random.default_rng(0)
    texts = Ragged.from_rows([random.integers(5, 200, length) for length in (17, 9, 9, 4, 1)])
    if packed_like(model, 0, texts) is None:
        raise EngineUnavailable("no")


def main() -> None:
    """Try every architecture and print what works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    kinds = parser.parse_args().kinds.split(",")
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    results = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            facts = measure(kind, Settings(home=Path(folder) / "home"), Path(folder))
        results.append({"kind": kind, "models": KINDS[kind][0], **facts})
        print(" · ".join(f"{name} {value}" for name, value in results[-1].items()), flush=True)
    print(json.dumps({"bench": "architectures", "results": results}, ensure_ascii=False))


if __name__ == "__main__":
    main()

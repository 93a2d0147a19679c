"""``tiny``: a small BERT trained from scratch with its own vocabulary; fits in seconds, needs no weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import TRANSFORMERS, require
from segadmin_plugins.backbones.transformer.base import Transformer
from segadmin_plugins.backbones.transformer.options import LearningRate, NotNegative, Positive

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True, kw_only=True)
class Tiny(Transformer):
    """Two layers, 128 wide, trained from scratch on the labelled users alone."""

    name: ClassVar[str] = "tiny"

    max_tokens: Positive = 96
    epochs: NotNegative = 6
    learning_rate: LearningRate = 5e-4
    words: int = 4000  #: largest size of the vocabulary
    layers: NotNegative = 2
    width: Positive = 128

    def check(self, settings: Settings) -> None:
        """Check that the libraries are installed."""
        tuner = self.made_tuner(settings)
        require(self.name, (*TRANSFORMERS, *tuner.requires))
        self.stores_adapter(None, tuner)

    def pretrained(self, train: Examples, run: FitContext) -> tuple[Any, Any]:
        """Return a BERT with random weights and a WordPiece tokenizer of the training phrases."""
        from transformers import BertConfig, BertForSequenceClassification

        phrases = train.frame["phrases"].explode().drop_nulls().unique().sort().to_list()
        tokenizer = wordpiece(phrases, self.words)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.width // 64),
            intermediate_size=4 * self.width,
            max_position_embeddings=self.max_tokens,
            pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(train.segments)),
            label2id={segment: n for n, segment in enumerate(train.segments)},
        )
        return BertForSequenceClassification(config), tokenizer


def wordpiece(texts: list[str], words: int) -> Any:
    """Return a tokenizer like BERT's for ``texts``: lower case, Chinese characters one by one.

    Its vocabulary is the most frequent words and all letters to spell the others. The trainer of ``tokenizers`` is not
    used: it breaks ties at random, so fits could be neither repeated nor resumed.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(handle_chinese_chars=True, lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({letter for word in counts for letter in word})
    inner = sorted({f"##{letter}" for word in counts for letter in word[1:]})
    common = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = list(dict.fromkeys(_SPECIAL + letters + inner + common))[: max(words, len(_SPECIAL))]

    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, splitter, decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, vocabulary.index(mark)) for mark in ("[CLS]", "[SEP]")]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, _SPECIAL, strict=True)))

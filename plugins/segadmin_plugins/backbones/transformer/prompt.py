"""A prompt around the texts of a decoder, so that its language model can classify users before any label is seen.

The prompt is no chat: an instruction that names the segments, the user text, and a cue. After the cue a language model
expects the name of a segment. So the classification layer begins as the rows of the language model's head for the
tokens by which the names differ, its verbalizers (Schick and Schütze 2021), and fine-tuning goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from segadmin.settings import Language
from segadmin_plugins.backbones.transformer.learned_weights import loaded_weights
from segadmin_plugins.backbones.transformer.multitask import last_layers

#: The file for the head of a decoder that was pretrained here; a sequence classifier's own files have none.
LANGUAGE_HEAD = "language_head.safetensors"
#: Names of the language model's head in the files, where it is not the embedding.
_HEADS = ("lm_head.weight", "embed_out.weight")


class _Wording(NamedTuple):
    instruction: str
    cue: str
    comma: str
    space: str  #: between the cue and a name


_WORDINGS: Mapping[Language, _Wording] = {
    "en": _Wording("Customer segments of an online shop: {}.\nWhat the customer did:", "\nSegment:", ", ", " "),
    "zh": _Wording("网店的用户分群：{}。\n用户的行为：", "\n分群：", "、", ""),
}


@dataclass(frozen=True)
class Prompt:
    """What is around a user text, and how it may go on."""

    before: str
    after: str  #: its last token is the one that the model classifies by
    answers: tuple[str, ...]  #: one per segment

    @classmethod
    def of(cls, segments: Sequence[str], language: Language) -> Prompt:
        """Return the prompt that asks for one of ``segments``."""
        words = _WORDINGS[language]
        names = words.comma.join(segments)
        return cls(words.instruction.format(names), words.cue, tuple(f"{words.space}{name}" for name in segments))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Prompt:
        """Return the prompt whose fields were stored."""
        return cls(stored["before"], stored["after"], tuple(stored["answers"]))


def verbalizers(answers: Sequence[Sequence[int]]) -> list[int]:
    """Return one id per answer, given as ids: the first that no other answer has after the same ids before it.

    An answer that is the beginning of another, or the same, is known by its last id.
    """
    beginnings = [{tuple(answer[:end]) for end in range(1, len(answer) + 1)} for answer in answers]
    chosen = []
    for n, answer in enumerate(answers):
        others = set().union(*beginnings[:n], *beginnings[n + 1 :])
        ends = (end for end in range(1, len(answer) + 1) if tuple(answer[:end]) not in others)
        chosen.append(answer[next(ends, len(answer)) - 1])
    return chosen


def begin_as_language_model(text: Any, ids: Sequence[int], folder: Path | None) -> str:
    """Let a new classification layer of ``text`` give its first segments the language model's logits of ``ids``.

    Args:
        text: a decoder with a classification layer.
        ids: of tokens, one per segment.
        folder: of the pretrained weights, where the head is if it is not the embedding.

    Returns:
        How the layer begins: as the ``language model``, as in an ``earlier version`` of the same segments, or
        ``random``, if the files have no head.
    """
    _, _, layer = last_layers(text)[0]
    if id(layer.weight) in loaded_weights(text):
        return "earlier version"
    rows = _head_rows(text, ids, folder)
    if rows is None or rows.shape[1] != layer.in_features:
        return "random"
    with torch.no_grad():
        layer.weight[: len(ids)] = rows.to(layer.weight)
        if layer.bias is not None:
            layer.bias.zero_()
    return "language model"


def _head_rows(text: Any, ids: Sequence[int], folder: Path | None) -> Tensor | None:
    """Return the rows of the language model's head, ``(ids, width)``; only these are read."""
    if text.config.tie_word_embeddings:
        rows: Tensor = text.get_input_embeddings().weight.detach()[list(ids)]
        return rows
    for path in sorted(folder.glob("*.safetensors")) if folder is not None else ():
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.endswith(_HEADS)]  # noqa: SIM118 (it is no dictionary)
            if names:
                head = file.get_slice(names[0])
                return torch.cat([head[number : number + 1] for number in ids])
    return None

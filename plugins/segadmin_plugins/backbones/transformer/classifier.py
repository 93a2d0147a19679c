"""A fitted transformer: prediction, saving and loading."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from segadmin.contracts.backbone import Classifier, Examples, no_progress
from segadmin_plugins.backbones.features.matrix import features_of
from segadmin_plugins.backbones.features.scaling import Scaling
from segadmin_plugins.backbones.numbers import softmax
from segadmin_plugins.backbones.transformer.batches import PhraseEncoder, UserDataset
from segadmin_plugins.backbones.transformer.disk_errors import disk_errors
from segadmin_plugins.backbones.transformer.head import FeatureHead, FusionHead, UserModel
from segadmin_plugins.backbones.transformer.joint_head import JointHead
from segadmin_plugins.backbones.transformer.projection import (
    projection_of,
    split_projection,
    widen,
    without_projection,
)
from segadmin_plugins.backbones.transformer.prompt import Prompt
from segadmin_plugins.backbones.transformer.stored import load_text, save_text
from segadmin_plugins.backbones.transformer.warm_start import start_from
from segadmin_plugins.engines.silence_transformers import quiet
from segadmin_plugins.engines.text_reader import TextReader
from segadmin_plugins.engines.trial import unchanged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segadmin.settings import Settings
    from segadmin_plugins.backbones.transformer.stored import Adapter


#: Rows whose features are encoded at once.
_ROWS = 8192


class TransformerClassifier(Classifier):
    """A model with the tokenizer and the feature scaling it was fitted with."""

    def __init__(
        self,
        model: UserModel,
        encoder: PhraseEncoder,
        scaling: Scaling,
        report: dict[str, Any],
        *,
        settings: Settings,
        adapter: Adapter | None = None,
    ) -> None:
        self.model, self.encoder, self.scaling, self.report = model.eval(), encoder, scaling, report
        self.adapter = adapter  #: saved instead of all weights
        compared = model.features.of_average_user if model.features is not None else unchanged
        self._reader = TextReader(model.text, encoder.pad_id, settings, compared)

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment, ``(n_rows, n_segments)``."""
        if not len(examples):
            return np.empty((0, len(examples.segments)), np.float32)
        outputs = self._reader.logits(self.encoder.encode(examples.frame["phrases"]).ids, progress)
        self.remark, self.inference = self._reader.remark, self._reader.inference.as_json()
        return softmax(self._fused(outputs, features_of(examples, self.scaling.names)))

    def _fused(self, outputs: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of what the text model returned and of features, ``(n_rows, n_features)``."""
        head = self.model.features
        if head is None:
            return outputs
        device = next(head.parameters()).device
        scaled = self.scaling(features, head.missing)
        with torch.inference_mode():
            logits = [
                head.fuse(*(torch.from_numpy(array[start : start + _ROWS]).to(device) for array in (outputs, scaled)))
                for start in range(0, len(outputs), _ROWS)
            ]
        fused: NDArray[np.float32] = torch.cat(logits).cpu().numpy()
        return fused

    def save(self, folder: Path) -> None:
        """Write a folder that ``AutoModelForSequenceClassification.from_pretrained`` reads too, if it is no adapter.

        It reads the text model alone, whose logits are one term of the model's: it knows no features. A prompt is in
        ``features.json``; whoever reads texts in another way puts it around them.
        """
        self._save(folder, self.adapter)

    def export(self, folder: Path) -> None:
        """Write a folder that ``AutoModelForSequenceClassification.from_pretrained`` reads too, with all weights.

        Afterwards the weights in memory have the precision of those written: bfloat16 if the base had.
        """
        if self.adapter is not None and self.adapter.dtype == "bfloat16":
            self.model.text.to(torch.bfloat16)
        self._save(folder, None)

    def _save(self, folder: Path, adapter: Adapter | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        head = self.model.features
        with quiet(), disk_errors(folder):
            with without_projection(self.model.text, head.width if head is not None else 0):
                save_text(self.model.text, folder, adapter)
            # For pipelines of transformers, which truncate by it.
            self.encoder.tokenizer.model_max_length = self.encoder.max_tokens
            self.encoder.tokenizer.save_pretrained(folder)
        if head is not None:
            state = {name: weights.detach().cpu().contiguous() for name, weights in head.state_dict().items()}
            if head.width:
                state |= projection_of(self.model.text, head.width)
            with disk_errors(folder):
                save_file(state, folder / "head.safetensors")
        stored = {"max_tokens": self.encoder.max_tokens, "scaling": self.scaling.to_json(), "report": self.report}
        stored |= {"prompt": asdict(self.encoder.prompt)} if self.encoder.prompt is not None else {}
        (folder / "features.json").write_text(json.dumps(stored, ensure_ascii=False, indent=2))


def load_classifier(
    folder: Path, n_threads: int, settings: Settings, own_base: Callable[[], Path | None]
) -> TransformerClassifier:
    """Return what :meth:`TransformerClassifier.save` wrote, on the GPU if there is one.

    Raises:
        BackboneUnavailable: it is an adapter, and its base is gone or has other weights.
    """
    torch.set_num_threads(n_threads)
    stored = _read_stored(folder)
    with quiet():
        text, adapter = load_text(folder, settings, own_base, start_from)
    model = UserModel(text, _load_head(folder, text)).to("cuda" if torch.cuda.is_available() else "cpu")
    return TransformerClassifier(
        model,
        load_encoder(folder),
        Scaling.from_json(stored["scaling"]),
        stored["report"],
        settings=settings,
        adapter=adapter,
    )


def load_encoder(folder: Path) -> PhraseEncoder:
    """Return the tokenizer that :meth:`TransformerClassifier.save` wrote, as the model uses it."""
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    stored = _read_stored(folder)
    prompt = stored.get("prompt")
    return PhraseEncoder(tokenizer, stored["max_tokens"], Prompt.from_json(prompt) if prompt else None)


def _read_stored(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((folder / "features.json").read_text())
    return stored


def _load_head(folder: Path, text: Any) -> FusionHead | None:
    """Return the head that was saved, if any, and add to ``text`` the outputs that it reads."""
    if not (folder / "head.safetensors").exists():
        return None
    projection, state = split_projection(load_file(folder / "head.safetensors"))
    if not projection:
        head = FeatureHead(state["linear.weight"].shape[1], text.config.num_labels)
        head.load_state_dict(state)
        return head
    widen(text, JointHead.width, projection)
    return JointHead.of_state(state)


def rows_of(
    examples: Examples,
    encoder: PhraseEncoder,
    scaling: Scaling,
    targets: NDArray[np.int64] | None = None,
    *,
    missing: float = 0.0,
    dropout: float = 0.0,
) -> tuple[UserDataset, Any]:
    """Return ``examples`` as rows, labelled with ``targets`` if given, and the statistics of truncation."""
    texts = encoder.encode(examples.frame["phrases"])
    features = scaling(features_of(examples, scaling.names), missing)
    rows = UserDataset(
        texts.ids,
        features,
        targets,
        phrase_lengths=texts.phrase_lengths,
        start=len(encoder.prefix),
        dropout=dropout,
    )
    return rows, texts.truncation

"""How fast this machine fine-tunes MiniLM, measured in about a second of real training steps.

``python -m segadmin_plugins.backbones.training_speed`` prints it; a separate process releases its memory.
"""

from __future__ import annotations

import statistics
import sys
import time

from segadmin.settings import Settings, get_settings
from segadmin_plugins.backbones.minilm import MiniLm
from segadmin_plugins.backbones.requirements import threads

_SEGMENTS = ("low", "mid", "high")
_BATCH = 8
_SECONDS = 1.0


def users_per_second(options: MiniLm, settings: Settings) -> float:
    """Return the training speed with ``options``, in users per second, on texts of ``max_tokens`` tokens.

    It is the median of many small steps, so that other load of the machine hardly matters.
    """
    n_threads = threads()
    import torch

    from segadmin_plugins.backbones.transformer.head import freeze_below
    from segadmin_plugins.backbones.transformer.warm_start import start_from
    from segadmin_plugins.engines.precision import bf16_is_faster
    from segadmin_plugins.engines.silence_transformers import quiet

    torch.set_num_threads(n_threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with quiet():
        text, _ = start_from(options.folder(settings), _SEGMENTS, settings=settings)
    text = text.to(device).train()
    freeze_below(text, options.frozen_layers)
    optimizer = torch.optim.AdamW([weights for weights in text.parameters() if weights.requires_grad], fused=True)
    shape = (_BATCH, options.max_tokens)
    ids = torch.randint(text.config.vocab_size, shape, device=device)
    labels = torch.randint(len(_SEGMENTS), shape[:1], device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16_is_faster()):
            loss = text(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for a GPU

    step()  # the first one allocates memory and chooses kernels
    took: list[float] = []
    while sum(took) < _SECONDS:
        start = time.perf_counter()
        step()
        took.append(time.perf_counter() - start)
    return _BATCH / statistics.median(took)


if __name__ == "__main__":
    sys.stdout.write(f"{users_per_second(MiniLm(), get_settings()):.3f}\n")

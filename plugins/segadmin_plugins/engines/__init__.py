"""Engines: the runtimes that compute the logits of user texts."""

import os

# oneDNN, which computes matrix products on CPUs, keeps a compiled kernel for each of the last 1,024 shapes. Packed
# texts nearly always have another shape, so these kernels are hardly used again and take 0.3 GiB and more. The variable
# is read once, at the first product of a process.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

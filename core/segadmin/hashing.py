"""Numbers that depend on nothing but what they are computed of: on every machine, in every version.

Event ids, splits and buckets that are stored must be found again, so none of this may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

#: The increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
#: The steps of SplitMix64's finalizer: shift to the right, then multiply.
_STEPS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
Key = TypeVar("Key", "int", "pl.Expr")


def splitmix64(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return each number with every bit depending on all of its bits: the finalizer of SplitMix64.

    One step of the generator from the state ``s`` is ``splitmix64(s + GOLDEN_GAMMA)``.
    """
    import numpy as np

    mixed = bits.copy()
    shifted = np.empty_like(mixed)  # in place: memory is what takes the time
    for shift, factor in _STEPS:
        np.right_shift(mixed, np.uint64(shift), out=shifted)
        np.bitwise_xor(mixed, shifted, out=mixed)
        if factor != 1:
            np.multiply(mixed, np.uint64(factor), out=mixed)
    return mixed


def inverse_splitmix64(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the numbers of which :func:`splitmix64` makes ``bits``: it is a permutation of all 64-bit numbers."""
    import numpy as np

    numbers = bits.copy()
    for shift, factor in reversed(_STEPS):
        numbers *= np.uint64(pow(factor, -1, 1 << 64))
        mixed = numbers.copy()
        for _ in range(64 // shift):
            numbers = mixed ^ (numbers >> np.uint64(shift))
    return numbers


def bucket_of(key: Key, buckets: int) -> Key:
    """Return the bucket of a user key, or of a column of them, 0 to ``buckets`` - 1; ``buckets`` is a power of two."""
    return key & (buckets - 1)

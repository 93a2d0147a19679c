"""The contract of a modality: turns vectors of items, such as embeddings of pictures, into words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.settings import Language

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ItemVectors:
    """The items that a modality is fitted on."""

    vectors: NDArray[np.float32]  #: ``(n_items, length)``, finite
    titles: pl.Series  #: String, null where an item has none; in the order of ``vectors``
    language: Language  #: of the text that will have the words
    seed: int


class Modality(ABC):
    """Turns vectors of items into words. Subclass it as a frozen dataclass: its fields are its options.

    The framework fits it once for a model version and stores the codebook with it, so that an item has the same words
    in training and in scoring; an item that is new in the shop gets its words from the same codebook.
    """

    name: ClassVar[str]  #: the value of ``--modality``
    version: ClassVar[str] = "1"  #: increase it when the same vectors and codebook give other words

    @abstractmethod
    def fit(self, items: ItemVectors) -> dict[str, Any]:
        """Return the codebook: all that :meth:`words` needs, as JSON of at most 4 MiB."""

    @abstractmethod
    def words(self, codebook: dict[str, Any], vectors: NDArray[np.float32]) -> list[list[str]]:
        """Return the words of each vector, without spaces in a word; they depend on nothing but the vector.

        Args:
            codebook: what :meth:`fit` returned.
            vectors: ``(n_items, length)``, as long as those of the fit.
        """

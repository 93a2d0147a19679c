"""``visual-words``: each part of a vector becomes the name of the nearest of a few centres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segadmin.contracts.modality import ItemVectors, Modality
from segadmin_plugins.modalities.names import name_words
from segadmin_plugins.modalities.quantization import Part, quantize

#: Titles by which a word is named: of the items nearest to its centre.
_NEAREST = 50


@dataclass(frozen=True)
class VisualWords(Modality):
    """Product quantisation into words: a picture becomes ``striped-look look2c look3a look4f``.

    Vectors are cut into ``parts``; in each, the nearest of ``codes`` centres (k-means) gives a word. A word is named
    after a term that is frequent in the titles of the items nearest to its centre and rarer elsewhere, else by part and
    code. A part in which all items are alike has no word.
    """

    name: ClassVar[str] = "visual-words"
    parts: Annotated[int, Field(ge=1, le=64)] = 4  #: parts of a vector, each with a word
    codes: Annotated[int, Field(ge=2, le=256)] = 16  #: maximum number of different words of a part
    noun: str = ""  #: second half of each word; default: "look", 外观

    def fit(self, items: ItemVectors) -> dict[str, Any]:
        """Return the centres of each part, and their words."""
        parts = quantize(items.vectors, self.parts, self.codes, items.seed)
        nearest = [_nearest_titles(part, items) for part in parts]
        words = name_words(nearest, items.titles.drop_nulls(), items.language, "".join(self.noun.split()))
        return {"parts": [part.as_json() | {"words": of_part} for part, of_part in zip(parts, words, strict=True)]}

    def words(self, codebook: dict[str, Any], vectors: NDArray[np.float32]) -> list[list[str]]:
        """Return a word for each part of each vector."""
        columns = [
            np.array(written["words"], dtype=object)[Part.of_json(written).nearest(vectors)[0]]
            for written in codebook["parts"]
            if len(written["words"]) > 1
        ]
        return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in vectors]


def _nearest_titles(part: Part, items: ItemVectors) -> list[list[str]]:
    """Return for each code the titles of the items nearest to its centre."""
    codes, distances = part.nearest(items.vectors)
    titles = []
    for code in range(len(part.centres)):
        rows = np.flatnonzero(codes == code)
        nearest = rows[np.argsort(distances[rows], kind="stable")][:_NEAREST]
        titles.append(items.titles.gather(nearest).drop_nulls().to_list())
    return titles

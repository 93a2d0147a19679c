"""A classical descriptor of pictures, which needs no weights: their colours and their texture, as 200 numbers.

- Colours: a histogram in CIELAB, a space in which equal distances look equally different. Each pixel is shared between
  the nearest bins, so that a small change of colour changes the histogram little.
- Texture: local binary patterns (Ojala, Pietikäinen and Mäenpää, 2002; uniform and invariant to rotation) and
  directions of gradients (as in Dalal and Triggs, 2005; from the most frequent one on), each at four scales.

Both halves are square roots of shares (Hellinger), so that Euclidean distances compare distributions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Changes when the same picture gives other numbers.
VERSION = 1
#: Pixels of a side to which pictures are resized.
SIDE = 96
#: Numbers of a descriptor: half for colours, half for texture.
LENGTH = 200

Pixels = NDArray[np.float64]

_LIGHTNESS, _CHROMA = np.linspace(0, 100, 4), np.linspace(-60, 60, 5)
_SCALES = (1, 2, 4, 8)
_DIRECTIONS, _PATTERNS = 15, 10
#: Differences of lightness, of 100, that are noise.
_NOISE = 2.0
#: Linear RGB to XYZ, each divided by the white of D65.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(axis=1)
#: The eight neighbours of a pixel, in a circle.
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def describe(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the descriptor of a picture.

    Args:
        rgb: ``(SIDE, SIDE, 3)``.

    Returns:
        ``(LENGTH,)``, non-negative.
    """
    colours = lab(rgb)
    return np.concatenate([_colours(colours), _texture(colours[..., 0])]).astype(np.float32)


def lab(rgb: NDArray[np.uint8]) -> Pixels:
    """Return sRGB as CIELAB: lightness from 0 to 100, green to red, blue to yellow."""
    values = rgb / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _colours(pixels: Pixels) -> Pixels:
    """Return the histogram of lightness and both chroma axes, 4 x 5 x 5 bins."""
    light, red, yellow = np.moveaxis(pixels, -1, 0).reshape(3, -1)
    shares = (_shared(light, _LIGHTNESS), _shared(red, _CHROMA), _shared(yellow, _CHROMA))
    histogram: Pixels = np.einsum("pi,pj,pk->ijk", *shares, optimize=True).ravel() / len(light)
    return np.sqrt(histogram)


def _shared(values: Pixels, centres: Pixels) -> Pixels:
    """Return how much of each value belongs to each centre, ``(n_values, n_centres)``; each row sums to 1."""
    inside = values.clip(centres[0], centres[-1])
    step = centres[1] - centres[0]
    shares: Pixels = (1 - abs(inside[:, None] - centres) / step).clip(0)
    return shares


def _texture(light: Pixels) -> Pixels:
    """Return the patterns and the directions of each scale, 4 x (10 + 15) numbers."""
    smaller = [_shrunk(light, scale) for scale in _SCALES]
    shares = [*(_patterns(image) for image in smaller), *(_directions(image) for image in smaller)]
    return np.sqrt(np.concatenate(shares) / len(shares))


def _shrunk(light: Pixels, scale: int) -> Pixels:
    """Return the means of squares of ``scale`` pixels."""
    height, width = light.shape[0] // scale, light.shape[1] // scale
    squares = light[: height * scale, : width * scale].reshape(height, scale, width, scale)
    means: Pixels = squares.mean(axis=(1, 3))
    return means


def _patterns(light: Pixels) -> Pixels:
    """Return the shares of the ten rotation-invariant uniform patterns; small differences count as none."""
    inner = light[1:-1, 1:-1]
    height, width = inner.shape
    brighter = np.stack(
        [light[1 + y : 1 + y + height, 1 + x : 1 + x + width] >= inner + _NOISE for y, x in _NEIGHBOURS]
    ).astype(int)
    changes = abs(brighter - np.roll(brighter, 1, axis=0)).sum(axis=0)
    codes = np.where(changes <= 2, brighter.sum(axis=0), _PATTERNS - 1)
    return _histogram(codes.ravel(), _PATTERNS)


def _directions(light: Pixels) -> Pixels:
    """Return how much of the picture changes in which direction: 14 of half a circle, and the share of flat pixels.

    They begin with the most frequent direction, so that stripes of any angle are alike.
    """
    down, across = np.gradient(light)
    angle = np.arctan2(down, across) % np.pi
    bins = np.minimum((angle / np.pi * (_DIRECTIONS - 1)).astype(int), _DIRECTIONS - 2)
    bins = np.where(np.hypot(down, across) < _NOISE, _DIRECTIONS - 1, bins)
    shares = _histogram(bins.ravel(), _DIRECTIONS)
    return np.append(np.roll(shares[:-1], -int(shares[:-1].argmax())), shares[-1])


def _histogram(codes: NDArray[np.int64], bins: int) -> Pixels:
    return np.bincount(codes, minlength=bins) / len(codes)

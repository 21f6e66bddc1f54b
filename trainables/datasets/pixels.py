"""Convert images of any mode to 8-bit pixels, and survey a set of images for the facts that this needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from trainables.datasets.images import Content, from_files, opened
from trainables.datasets.spec import DatasetError, Decoding

MODES = {1: "L", 3: "RGB"}  # Pillow's modes by number of channels
GREY = {"1", "L", "LA", "La", "I", "F"}  # and all modes that begin with `I;16`
ALWAYS_8_BITS = (b".jpg", b".jpeg")  # and opaque: their headers do not change how they are decoded
SEVERAL_PAGES = {"TIFF", "PNG", "WEBP", "GIF"}  # not MPO: a photo with previews of itself
TURNED_IN = {"exif", "xmp", "XML:com.adobe.xmp"}  # metadata in which a camera stores its orientation
ORIENTATION, PHOTOMETRIC = 0x0112, 262  # tags of EXIF and TIFF
SEEN_AT_ONCE = 512


class Survey(NamedTuple):
    """Facts of a set of images. `altered`: pixels of some images differ from those of `Image.convert`."""

    sizes: frozenset[tuple[int, int]]  # width, height
    grey: bool
    decoding: Decoding
    altered: bool


class _Seen(NamedTuple):
    """Facts of one image that `survey` needs."""

    size: tuple[int, int]
    grey: bool
    mode: str  # of images of more than 8 bits, else empty
    largest: float  # the largest value of such an image
    inks: frozenset[tuple[int, ...]] | None  # its visible colours, two at most; None if it has no transparency
    altered: bool


def survey(paths: Sequence[bytes], content: Content = from_files, most: float = inf) -> Survey:
    """Read the headers of all images, and the pixels of those that have more than 8 bits or an alpha channel.

    Values of more than 8 bits are scaled by 2^b - 1, where b is the smallest even number of bits, from 8 on, that holds
    all values of that mode in the set: cameras of 10 to 14 bits write files of 16. Floats up to 1 are not rescaled. If
    every image has an alpha channel and all visible pixels have one colour (ink on transparency), the alpha channel is
    the picture, and grey; on white, white ink would be lost.

    Once two sizes differ or the images have more than `most` pixels, JPEG files are no longer opened.

    Raises:
        DatasetError: if an image cannot be read, or its mode cannot be converted to 8 bits, naming file and mode.
    """
    sizes: set[tuple[int, int]] = set()
    inks: set[tuple[int, ...]] = set()
    largest: dict[str, tuple[float, bytes]] = {}
    opaque, grey, altered = False, True, False
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(paths), SEEN_AT_ONCE):
            rows = range(first, min(first + SEEN_AT_ONCE, len(paths)))
            streamed = len(sizes) > 1 or sum(width * height for width, height in sizes) * len(paths) > most
            wanted = [row for row in rows if not (streamed and paths[row].lower().endswith(ALWAYS_8_BITS))]
            opaque |= len(wanted) < len(rows)
            for row, seen in zip(wanted, pool.map(lambda row: _see(paths[row], content(row)), wanted), strict=True):
                sizes.add(seen.size)
                grey &= seen.grey
                altered |= seen.altered
                opaque |= seen.inks is None
                inks |= seen.inks or set()
                if seen.mode:
                    largest[seen.mode] = max(largest.get(seen.mode, (-inf, b"")), (seen.largest, paths[row]))
    if not opaque and not inks:
        raise DatasetError(f"dataset: {os.fsdecode(paths[0])} and all others are transparent everywhere")
    ink = not opaque and altered and len(inks) == 1
    white = {mode: _white(mode, *largest[mode]) for mode in sorted(largest)}
    white.pop("RGB;16", None)  # Pillow itself converts these to 8 bits
    return Survey(frozenset(sizes), grey or ink, Decoding(tuple(white.items()), ink), altered)


def to_8_bits(path: bytes, image: Image.Image, channels: int, decoding: Decoding | None) -> Image.Image:
    """Return the image in 8 bits, with one channel or three, upright, and on white where it is transparent.

    In-memory and streamed datasets both use it. Without `decoding` (published sets) the image is that of
    `Image.convert`, as in the programs that gave the published numbers.

    Raises:
        DatasetError: if `survey` did not see its mode, naming file and mode.
    """
    if decoding is None:
        return image.convert(MODES[channels])
    mode = _deep(path, image)
    image = ImageOps.exif_transpose(image)
    if mode and mode != "RGB;16":
        white = dict(decoding.white)
        if mode not in white:
            raise _refusal(path, mode, "has an ending of other images; expected .png or .tif")
        values = np.asarray(image).astype(np.float64)
        pixels = np.rint(255 * np.clip(values / white[mode], 0, 1)).astype(np.uint8)
        if "transparency" in image.info:
            pixels[values == image.info["transparency"]] = 255
        return Image.fromarray(pixels).convert(MODES[channels])
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        if decoding.ink:
            return coloured.getchannel("A").convert(MODES[channels])
        image = Image.new("RGBA", image.size, "white")
        image.alpha_composite(coloured)
    return image.convert(MODES[channels])


def decode(
    paths: Sequence[bytes] | np.ndarray[Any, Any],
    shape: tuple[int, int, int],
    file: Path,
    content: Content = from_files,
    decoding: Decoding | None = None,
) -> np.ndarray[Any, Any]:
    """Decode all images into `file` and return it as a map, uint8 [N, C, H, W]: they may not fit into memory.

    `content` returns the bytes of images that are not files of their own; `decoding` is as for `to_8_bits`.

    Raises:
        DatasetError: if one is not a whole image of that `shape` (C, H, W), naming it.
    """
    pixels = np.lib.format.open_memmap(file, "w+", np.uint8, (len(paths), *shape))

    def fill(index: int) -> None:
        with opened(paths[index], content(index)) as image:
            found = np.asarray(to_8_bits(paths[index], image, shape[0], decoding))
        if found.shape[:2] != shape[1:]:
            size = f"{found.shape[1]}×{found.shape[0]}"
            raise DatasetError(
                f"dataset: {os.fsdecode(paths[index])} has {size} pixels, expected {shape[2]}×{shape[1]}"
            )
        pixels[index] = found.reshape(*shape[1:], shape[0]).transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        for _ in pool.map(fill, range(len(paths))):
            pass
    return pixels


def _see(path: bytes, content: bytes | None) -> _Seen:
    with opened(path, content) as image:
        mode = _deep(path, image)
        size, turned = image.size, False
        if image.format != "TIFF" and TURNED_IN & image.info.keys():  # Pillow itself turns TIFF images
            orientation = image.getexif().get(ORIENTATION, 1)
            turned = orientation in range(2, 9)
            size = size[::-1] if orientation in range(5, 9) else size
        rawmode = _rawmode(image)
        grey = image.mode in GREY or image.mode.startswith("I;16") or rawmode.partition(";")[0] == "LA"
        inks, hidden, largest = None, False, 0.0
        if mode:
            values = np.asarray(image)
            if not np.isfinite(values).all():
                raise _refusal(path, mode, "has pixels that are not finite")
            if values.min() < 0:
                raise _refusal(path, mode, f"has negative pixels, down to {values.min():g}")
            # Pillow returns only the high byte of 16-bit colours.
            largest = float(values.max()) * (257 if mode == "RGB;16" else 1)
        if image.has_transparency_data and mode in {"", "RGB;16"}:
            pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
            shown = pixels[pixels[:, 3] > 0, :3]
            others = shown[(shown != shown[:1]).any(1)]
            inks = frozenset(tuple(each.tolist()) for each in (*shown[:1], *others[:1]))
            hidden = bool((pixels[:, 3] < 255).any())
        altered = turned or hidden or mode not in {"", "RGB;16"}
        return _Seen(size, grey, mode, largest, inks, altered)


def _deep(path: bytes, image: Image.Image) -> str:
    """Return the mode of an image of more than 8 bits, whatever its byte order; an empty text for other images.

    Raises:
        DatasetError: if part of the image would be lost.
    """
    rawmode = _rawmode(image)
    if image.format in SEVERAL_PAGES and (pages := getattr(image, "n_frames", 1)) > 1:
        raise _refusal(path, image.mode, f"has {pages} pages or frames, expected one")
    if image.format == "TIFF" and "X" in rawmode:
        raise _refusal(path, rawmode, "has channels of no known meaning")
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
            raise _refusal(path, image.mode, "has 0 as white (photometric interpretation 0), expected black")
        if image.format == "PPM":
            return "PGM"
        return "I;16" if image.mode.startswith("I;16") else image.mode
    if ";16" not in rawmode:
        return ""
    if image.mode == "RGB" and "transparency" in image.info:
        raise _refusal(path, "RGB of 16 bits", "has a transparent colour, expected an alpha channel")
    return "RGB;16"


def _rawmode(image: Image.Image) -> str:
    """Return Pillow's name for the way in which the file stores its pixels."""
    tiles = getattr(image, "tile", [])  # only images from a file have tiles
    parameters = tiles[0].args if tiles else ""
    first = parameters[0] if isinstance(parameters, tuple) and parameters else parameters
    return first if isinstance(first, str) else ""


def _white(mode: str, largest: float, path: bytes) -> float:
    """Return the value that becomes white in a set whose largest value is `largest`, found in `path`."""
    if mode == "PGM":  # these files state their white value, and Pillow scales it to 65535
        return 65535.0
    bits = next(bits for bits in (*range(8, 31, 2), 31, 1024) if largest < 2**bits)
    if mode == "RGB;16" and bits < 16:
        raise _refusal(path, "RGB of 16 bits", f"and all others of the set use {bits} bits of 16; save them in 8 bits")
    if mode != "F":
        return float(2**bits - 1)
    if largest <= 1:
        return 1.0
    if not 63 < largest < 2**31:
        raise _refusal(path, mode, f"has pixels up to {largest:g}, the largest of the set; expected 1, 255 or 65535")
    return float(2**bits - 1)


def _refusal(path: bytes, mode: str, why: str) -> DatasetError:
    return DatasetError(f"dataset: {os.fsdecode(path)} of mode {mode} {why}")

"""Images of every mode arrive as the picture that was drawn, in memory and streamed, or are refused by name."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from image_files import write_folder
from PIL import Image

from trainables.datasets import DatasetError, folder, load, lookup

SIDE = 256  # streamed images of this size are not scaled, only cut to the 224 in the middle


@pytest.fixture(autouse=True)
def look_again(monkeypatch):
    monkeypatch.setattr(folder, "_described", {})
    monkeypatch.setattr(folder, "_facts", {})


def png(path, values, colour_type, transparent=b""):
    """Write a PNG of 16 bits by hand: Pillow writes none in colour."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    key = chunk(b"tRNS", transparent) if transparent else b""
    content = chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def layers(*each):
    return np.stack([np.broadcast_to(layer, each[0].shape) for layer in each], -1).astype(np.uint8)


def whole(g, largest):
    return np.rint(g * largest)


def palette(g, path):
    """Ten greys, of which the first is transparent by index."""
    image = Image.fromarray((9.9 * g).astype(np.uint8), "P")
    image.putpalette([25 * i for i in range(10) for _ in "rgb"])
    image.save(path, transparency=0)


def alphas(g, path):
    """One red in a palette, of 256 opacities."""
    image = Image.fromarray(whole(g, 255).astype(np.uint8), "P")
    image.putpalette([200, 0, 0] * 256)
    image.save(path, transparency=bytes(range(256)))


def on_white(colour, alpha):
    return np.rint(255 - alpha * (255 - np.asarray(colour, float)))


def save(make, **options):
    return lambda g, path: Image.fromarray(make(g)).save(path, **options)


def integers(largest, dtype):
    return save(lambda g: whole(g, largest).astype(dtype))


def as_drawn(g):
    return 255 * g


def digit(g):  # a grey value from 0 to 225 in steps of 25
    return 25 * np.floor(9.9 * g)


# name: ending, how a picture with values from 0 to 1 is written, the pixels expected (one channel or three)
READ = {
    "grey": ("png", integers(255, np.uint8), as_drawn),
    "1 bit": ("png", lambda g, path: Image.fromarray(g > 0.5).save(path), lambda g: 255.0 * (g > 0.5)),
    "16 bits": ("png", integers(65535, np.uint16), as_drawn),
    "16 bits, big-endian tiff": ("tif", integers(65535, ">u2"), as_drawn),
    "16 bits, little-endian tiff": ("tiff", integers(65535, "<u2"), as_drawn),
    "14 bits in 16": ("png", integers(2**14 - 1, np.uint16), as_drawn),
    "12 bits in 16": ("png", integers(4095, np.uint16), as_drawn),
    "12 bits in 16, big-endian tiff": ("tif", integers(4095, ">u2"), as_drawn),
    "10 bits in 16": ("png", integers(1023, np.uint16), as_drawn),
    "8 bits in 16": ("png", integers(255, np.uint16), as_drawn),
    "16 bits in 32": ("tif", integers(65535, np.int32), as_drawn),
    "20 bits in 32": ("tif", integers(2**20 - 1, np.int32), as_drawn),
    "31 bits": ("tif", integers(2**31 - 1, np.int32), as_drawn),
    "floats to 1": ("tif", save(lambda g: g.astype(np.float32)), as_drawn),
    "floats to 255": ("tif", save(lambda g: (255 * g).astype(np.float32)), as_drawn),
    "floats to 65535": ("tif", save(lambda g: (65535 * g).astype(np.float32)), as_drawn),
    "16 bits, one value transparent": (
        "png",
        lambda g, path: png(path, whole(g, 65535), 0, struct.pack(">H", 0)),
        lambda g: np.where(whole(g, 65535) == 0, 255, 255 * g),
    ),
    "pgm of 12 bits": (
        "pgm",
        lambda g, path: path.write_bytes(b"P5 %d %d 4095\n" % g.shape[::-1] + whole(g, 4095).astype(">u2").tobytes()),
        as_drawn,
    ),
    "colours": (
        "png",
        save(lambda g: layers(255 * g, 255 - 255 * g, 90)),
        lambda g: layers(255 * g, 255 - 255 * g, 90),
    ),
    "colours of 16 bits": (
        "png",
        lambda g, path: png(path, np.stack([whole(g, 65535), whole(1 - g, 65535), whole(g, 257 * 90)], -1), 2),
        lambda g: layers(255 * g, 255 - 255 * g, 90 * g),
    ),
    "opaque": ("png", save(lambda g: layers(255 * g, 90, 90, 255)), lambda g: layers(255 * g, 90, 90)),
    "colours on transparency": (
        "png",
        save(lambda g: layers(255 * (g > 0.5), 0, 40, 255 * g)),
        lambda g: np.stack([on_white(c, np.floor(255 * g) / 255) for c in (255 * (g > 0.5), 0, 40)], -1),
    ),
    "grey on transparency": (
        "png",
        save(lambda g: layers(100 * (g > 0.5), 255 * g)),
        lambda g: on_white(100 * (g > 0.5), np.floor(255 * g) / 255),
    ),
    "webp on transparency": (
        "webp",
        save(lambda g: layers(255 * (g > 0.5), 0, 40, 255 * g), lossless=True, exact=True),
        lambda g: np.stack([on_white(c, np.floor(255 * g) / 255) for c in (255 * (g > 0.5), 0, 40)], -1),
    ),
    "black ink": ("png", save(lambda g: layers(0 * g, 0, 0, 255 * g)), as_drawn),
    "white ink": ("png", save(lambda g: layers(0 * g + 255, 255, 255, 255 * g)), as_drawn),
    "grey ink": ("png", save(lambda g: layers(0 * g + 90, 255 * g)), as_drawn),
    "ink in a palette": ("png", alphas, as_drawn),
    "palette, one transparent": (
        "png",
        palette,
        lambda g: layers(*3 * [np.where(digit(g) == 0, 255, digit(g))]),
    ),
    "cmyk": ("tif", lambda g, path: grey_rgb(g).convert("CMYK").save(path), lambda g: layers(*3 * [255 * g])),
    "lab": (
        "tif",
        lambda g, path: Image.merge("LAB", [level(g), level(0 * g + 0.502), level(0 * g + 0.502)]).save(path),
        None,
    ),
}


def level(g):
    return Image.fromarray(whole(g, 255).astype(np.uint8))


def grey_rgb(g):
    return level(g).convert("RGB")


def drawn(root, name, side=SIDE):
    """Write two classes of smooth pictures; return the pixels [N, H, W] of the test images, classes in turn."""
    ending, write, _ = READ[name]
    ramp = np.linspace(0, 1, side)
    pictures = []
    for number, label in enumerate("ab"):
        for part, count in (("train", 2), ("test", 1)):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                g = np.outer(ramp, np.roll(ramp, 9 * i + 5 * number))
                write(g, root / part / label / f"{i}.{ending}")
        pictures.append(g)
    return pictures


def pixels(data):
    """All test images as uint8 [N, C, H, W]."""
    return torch.cat(list(data.plain("test", [torch.arange(2)], "cpu")))


@pytest.mark.parametrize("name", READ)
def test_the_picture_arrives_as_it_was_drawn_in_memory_and_streamed(name, tmp_path, monkeypatch):
    pictures = drawn(tmp_path / "set", name)
    in_memory = load(f"folder:{tmp_path / 'set'}", None, tmp_path / "cache")
    assert in_memory.spec.path == "memory"
    found = pixels(in_memory)
    expected = READ[name][2]
    if expected is not None:
        wanted = np.stack([np.asarray(expected(g), float) for g in pictures])
        wanted = wanted[:, None] if wanted.ndim == 3 else wanted.transpose(0, 3, 1, 2)
        assert found.shape == wanted.shape
        assert np.abs(found.numpy() - wanted).max() <= 1.01  # of rounding, up or down
    assert found.float().std() > 30  # not black, not white
    monkeypatch.setattr(folder, "LARGEST", 1000)
    monkeypatch.setattr(folder, "_described", {})
    monkeypatch.setattr(folder, "_facts", {})
    streamed = load(f"folder:{tmp_path / 'set'}", None, tmp_path / "other cache")
    assert streamed.spec.path == "stream"
    assert torch.equal(pixels(streamed), found[..., 16:240, 16:240].expand(-1, 3, -1, -1))


def test_one_scale_holds_for_the_whole_set(tmp_path):
    """A dark image stays dark beside a bright one, in whichever part the bright one lies."""
    for part, label, value in (("train", "a", 100), ("train", "b", 200), ("test", "a", 400), ("test", "b", 3000)):
        (tmp_path / part / label).mkdir(parents=True)
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / part / label / "0.png")
    data = load(f"folder:{tmp_path}", None, tmp_path / "cache")
    assert data.train_x[:, 0, 0, 0].tolist() == [round(100 / 4095 * 255), round(200 / 4095 * 255)]
    assert data.test_x[:, 0, 0, 0].tolist() == [round(400 / 4095 * 255), round(3000 / 4095 * 255)]
    assert "I;16 pixels scaled by 4095" in data.spec.summary


def test_ink_of_two_colours_lies_on_white(tmp_path):
    for part in ("train", "test"):
        for label, ink in (("a", 0), ("b", 200)):
            (tmp_path / part / label).mkdir(parents=True)
            pixel = np.full((4, 4, 4), (ink, ink, ink, 255), np.uint8)
            pixel[:2, :, 3] = 0
            Image.fromarray(pixel).save(tmp_path / part / label / "0.png")
    data = load(f"folder:{tmp_path}", None, tmp_path / "cache")
    assert data.train_x[:, 0, :, 0].tolist() == [[255, 255, 0, 0], [255, 255, 200, 200]]


@pytest.mark.parametrize("ending", ["jpg", "tif", "webp"])
def test_photographs_stand_upright(tmp_path, ending):
    """Orientation 6 of EXIF: the camera was turned, and the file's first row is the picture's right side."""
    file = np.zeros((8, 24), np.uint8)
    file[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            Image.fromarray(file).convert("RGB").save(tmp_path / part / label / f"0.{ending}", exif=exif)
    data = load(f"folder:{tmp_path}", None, tmp_path / "cache")
    assert data.input_shape == (3, 24, 8)
    assert data.test_x[0, 0, :, :3].float().mean() < 40
    assert data.test_x[0, 0, :, 5:].float().mean() > 215


def wrong(make, **options):
    return lambda path: Image.fromarray(make).save(path, **options)


def pages(path):
    first, *others = [Image.fromarray(np.full((12, 16), 9 * i, np.uint8)) for i in range(3)]
    first.save(path, save_all=True, append_images=others)


def floats(*values):
    return np.resize(np.array(values, np.float32), (12, 16))


@pytest.mark.parametrize(
    ("ending", "write", "message"),
    [
        ("tif", wrong(floats(0, np.nan)), "mode F has pixels that are not finite"),
        ("tif", wrong(floats(0, np.inf)), "mode F has pixels that are not finite"),
        ("tif", wrong(floats(-1, 1)), "mode F has negative pixels, down to -1"),
        ("tif", wrong(floats(0, 1.5)), "mode F has pixels up to 1.5, the largest of the set; expected 1, 255 or 65535"),
        ("tif", wrong(np.full((12, 16), -5, np.int32)), "mode I has negative pixels, down to -5"),
        ("tif", pages, "mode L has 3 pages or frames, expected one"),
        ("webp", pages, "mode RGB has 3 pages or frames, expected one"),
        ("png", pages, "mode L has 3 pages or frames, expected one"),
        ("png", lambda path: png(path, np.full((12, 16, 3), 4095), 2), "RGB of 16 bits and all others .* use 12 bits"),
        (
            "png",
            lambda path: png(path, np.full((12, 16, 3), 65535), 2, b"\0" * 6),
            "mode RGB of 16 bits has a transparent colour",
        ),
        ("png", lambda path: path.write_bytes(b""), r"x\.png is empty"),
        ("png", lambda path: path.write_text("not an image"), r"x\.png is not a whole image: "),
        ("png", lambda path: path.symlink_to("nowhere.png"), r"x\.png cannot be read: No such file"),
        ("png", os.mkfifo, r"x\.png is (empty|not a file)"),
        ("gif", pages, r"x\.gif is of a type that is not supported \(expected \.jpg, "),
    ],
)
def test_what_would_be_lost_is_refused_with_file_and_mode(tmp_path, ending, write, message):
    root = write_folder(tmp_path / "pets", train=2)
    write(root / "train" / "dog" / f"x.{ending}")
    with pytest.raises(DatasetError, match=message) as refused:
        lookup(f"folder:{root}", tmp_path / "cache")
    assert str(refused.value).startswith(f"dataset: {root / 'train' / 'dog'}/x.{ending} ")
    assert "\n" not in str(refused.value)


def test_a_deep_image_behind_the_name_of_a_photograph_is_refused_when_it_is_read(tmp_path):
    root = write_folder(tmp_path / "pets", sizes=((16, 12), (20, 12)), train=600)
    hidden = root / "val" / "dog" / "1.jpg"
    Image.fromarray(np.full((12, 16), 999, np.uint16)).save(hidden, "PNG")
    data = load(f"folder:{root}", None, tmp_path / "cache")
    with pytest.raises(DatasetError, match=r"val/dog/1\.jpg of mode I;16 has an ending of other images; expected"):
        list(data.test_batches())


def test_a_set_of_which_nothing_can_be_seen_is_refused(tmp_path):
    root = write_folder(tmp_path / "pets", train=1, test=1)
    for path in root.rglob("*.png"):
        image = Image.open(path).convert("RGBA")
        image.putalpha(0)
        image.save(path)
    with pytest.raises(DatasetError, match=r"train/cat/0\.png and all others are transparent everywhere"):
        lookup(f"folder:{root}", tmp_path / "cache")

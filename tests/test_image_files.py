"""Image files of strangers: read as a viewer shows them, or refused before they take memory."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from aux_keras.serving import image_files

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("uint8")
SMOOTH = Image.fromarray(PIXELS[:4, :6]).resize((48, 32), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module", params=[1, 3])
def decode(request):
    """A decoder of images up to 10,000 pixels, and its channels."""
    channels = request.param
    return lambda file: image_files.decode(tf.constant(file), channels, 10_000).numpy(), channels


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def shown(image, channels):
    return np.asarray(image.convert("RGB" if channels == 3 else "L"), int).reshape(
        image.height, image.width, channels
    )


@pytest.mark.parametrize(
    ("form", "modes"),
    [("PNG", ["RGB", "L", "P", "1"]), ("JPEG", ["RGB", "L", "CMYK"]), ("GIF", ["RGB", "L"]),
     ("BMP", ["RGB"]), ("WEBP", ["RGB", "L"])],
)  # fmt: skip
def test_formats_are_read_as_pillow_reads_them(form, modes, decode):
    """Up to the rounding of lossy formats and of two ways to grey."""
    run, channels = decode
    for mode in modes:
        file = saved(SMOOTH.convert(mode), form)
        got, wanted = run(file).astype(int), shown(Image.open(io.BytesIO(file)), channels)
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).mean() < 4, mode


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_palettes_of_bmp_are_refused(mode, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="bits per pixel"):
        decode[0](saved(SMOOTH.convert(mode), "BMP"))


def test_what_is_transparent_lies_on_white(decode):
    run, channels = decode
    black = np.zeros((5, 7, 4), "uint8")
    black[0, 0, 3], black[0, 1, 3] = 255, 51
    for mode in ("RGBA", "LA"):
        got = run(saved(Image.fromarray(black).convert(mode), "PNG"))
        wanted = np.full((5, 7, channels), 255)
        wanted[0, 0], wanted[0, 1] = 0, 204
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("mode", "colour"), [("L", 0), ("RGB", (0, 0, 0))])
def test_a_colour_that_is_transparent_is_white(mode, colour, decode):
    run, channels = decode
    image = Image.fromarray(np.where(PIXELS < 128, 0, PIXELS)).convert(mode)
    opaque = np.asarray(image)
    transparent = (opaque == 0).reshape(5, 7, -1).all(-1)
    assert 0 < transparent.sum() < transparent.size
    np.testing.assert_array_equal(run(saved(image, "PNG", transparency=colour))[transparent], 255)
    file = saved(image, "PNG")
    assert not (run(file)[transparent] == 255).any()
    with_data = file.replace(b"IDAT", b"IDATtRNS", 1)  # in the pixels it means nothing
    assert not image_files.has_transparent_colour(with_data)


def test_a_bmp_may_begin_at_its_top(decode):
    run, channels = decode
    image = Image.fromarray(PIXELS)
    upright, turned = (bytearray(saved(one, "BMP")) for one in (image, ImageOps.flip(image)))
    turned[22:26] = struct.pack("<i", -5)
    np.testing.assert_array_equal(run(bytes(turned)), run(bytes(upright)))


def test_sixteen_bits_become_eight(decode):
    run, channels = decode
    got = run(saved(Image.fromarray(PIXELS[..., 0].astype("uint16") * 257), "PNG"))
    np.testing.assert_array_equal(got, np.repeat(PIXELS[..., :1], channels, axis=-1))


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_exif_says(orientation, endian, decode):
    run, channels = decode
    exif = Image.Exif()
    exif.endian = endian
    exif[0x0112], exif[0x010E] = orientation, "of a camera that was held another way"
    file = saved(SMOOTH, "JPEG", quality=95, exif=exif.tobytes())
    wanted = shown(ImageOps.exif_transpose(Image.open(io.BytesIO(file))), channels)
    got = run(file).astype(int)
    assert got.shape == wanted.shape and np.abs(got - wanted).mean() < 4


def claiming(form, width, height, **options):
    """A file of 5 x 7 pixels whose header says something else."""
    file = bytearray(saved(Image.fromarray(PIXELS), form, **options))
    if form == "PNG":
        file[16:24] = struct.pack(">II", width, height)
    elif form == "JPEG":
        at = file.find(b"\xff\xc0")
        file[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif form == "GIF":
        file[6:10] = struct.pack("<HH", width, height)
    elif form == "BMP":
        file[18:26] = struct.pack("<II", width, height)
    elif file[12:16] == b"VP8X":
        size = [(n - 1).to_bytes(3, "little") for n in (width, height)]
        file[24:30] = b"".join(size)
    elif options.get("lossless"):
        file[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    else:
        file[26:30] = struct.pack("<HH", width, height)
    return bytes(file)


EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("JPEG", {}), ("GIF", {}), ("BMP", {}), ("WEBP", {}),
     ("WEBP", {"lossless": True}), ("WEBP", {"exif": EXIF})],
)  # fmt: skip
def test_files_that_claim_many_pixels_are_not_decoded(form, options, decode):
    """The number in the error is the product of the claim: the header was read right."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 10000 pixels") as raised:
        decode[0](claiming(form, 12_345, 9_876, **options))
    assert str(12_345 * 9_876) in str(raised.value)
    header = image_files.first_bytes(claiming(form, 7, 5, **options))
    assert image_files.claimed_pixels(claiming(form, 7, 5, **options), header) == 35


def test_broken_files_raise_errors_that_can_be_told(decode):
    rng, failed = np.random.default_rng(1), 0
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        whole = saved(SMOOTH, form)
        for case in range(20):
            file = bytearray(whole)
            if case % 2:
                file = file[: rng.integers(0, len(file))]
            else:
                file[rng.integers(0, 40)] = rng.integers(0, 256)
            try:
                decode[0](bytes(file))
            except tf.errors.InvalidArgumentError:
                failed += 1
    assert failed > 20

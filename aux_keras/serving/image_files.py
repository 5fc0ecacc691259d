"""Image files as pixels, inside the graph, as a viewer would show them."""

import functools

import tensorflow as tf

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PNG_WITH_ALPHA = (3, 4, 6)  # palette, grey, colours
VP8X, VP8L = (int.from_bytes(kind, "big") for kind in (b"VP8X", b"VP8L"))
HEADER = 1 << 16  # bytes: Exif is in the first segments, of at most 64 KiB
TURNS = {  # Exif's orientations, by what undoes them
    2: tf.image.flip_left_right,
    3: lambda image: tf.image.rot90(image, 2),
    4: tf.image.flip_up_down,
    5: tf.image.transpose,
    6: lambda image: tf.image.rot90(image, 3),
    7: lambda image: tf.image.rot90(tf.image.transpose(image), 2),
    8: tf.image.rot90,
}


def decode(file, channels, max_pixels):
    """The pixels of an image file.

    PNG, JPEG, BMP, WebP, and the first picture of a GIF; 16 bits become 8. What is transparent in
    a PNG lies on white if `channels` is 1 or 3, and a JPEG is turned as its Exif data says.

    Args:
        file: string scalar, its contents.
        channels: 1, 3 or 4; PNG alone has 4.
        max_pixels: int. A file that claims more is not decoded: a small one can claim any number.

    Returns:
        `(height, width, channels)` uint8.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, on more pixels, or what is no such image.
    """
    return decoder(channels, max_pixels)(file)


@functools.cache
def decoder(channels, max_pixels):
    """`decode` of such images, traced once however many functions call it."""
    run = tf.function(functools.partial(_decode, channels, max_pixels), autograph=False)
    with tf.init_scope():
        return run.get_concrete_function(tf.TensorSpec((), tf.string, "file"))


def _decode(channels, max_pixels, file):
    header = first_bytes(file)
    pixels = claimed_pixels(file, header)
    small = tf.debugging.Assert(
        pixels <= max_pixels, [f"an image has more than {max_pixels} pixels, this one", pixels]
    )
    palette = tf.logical_and(_begins(header, b"BM"), _number(header, 28, 2) < 24)
    plain = tf.debugging.Assert(  # TensorFlow would take the numbers of the colours for them
        tf.logical_not(palette), ["a BMP must have 24 or 32 bits per pixel"]
    )
    with tf.control_dependencies([small, plain]):
        file = tf.identity(file)
    is_png, is_jpeg = _begins(header, PNG), _begins(header, JPEG)

    def other():
        if channels != 1:
            return tf.io.decode_image(file, channels, expand_animations=False)
        # TensorFlow makes grey of neither GIF nor BMP nor WebP.
        return tf.image.rgb_to_grayscale(tf.io.decode_image(file, 3, expand_animations=False))

    image = tf.case(
        [(is_png, lambda: _decode_png(file, channels, header)),
         (is_jpeg, lambda: _decode_jpeg(file, channels, header))],
        other, exclusive=True,
    )  # fmt: skip
    return tf.ensure_shape(image, (None, None, channels))


def claimed_pixels(file, header):
    """Pixels that an image file says it has, int64; 0 of other formats."""

    def jpeg():
        return tf.reduce_prod(tf.cast(tf.image.extract_jpeg_shape(file)[:2], tf.int64))

    def riff():  # WebP of its three kinds
        kind = _number(header, 12, -4)
        extended = (1 + _number(header, 24, 3)) * (1 + _number(header, 27, 3))
        packed = _number(header, 21, 4)
        lossless = (1 + packed % 2**14) * (1 + packed // 2**14 % 2**14)
        lossy = _number(header, 26, 2) % 2**14 * (_number(header, 28, 2) % 2**14)
        return tf.where(kind == VP8X, extended, tf.where(kind == VP8L, lossless, lossy))

    def bmp():  # its height is negative where the first row is at the top
        height = _number(header, 22, 4)
        return _number(header, 18, 4) * tf.minimum(height, 2**32 - height)

    return tf.case(
        [(_begins(header, PNG), lambda: _number(header, 16, -4) * _number(header, 20, -4)),
         (_begins(header, JPEG), jpeg),
         (_begins(header, b"GIF8"), lambda: _number(header, 6, 2) * _number(header, 8, 2)),
         (_begins(header, b"BM"), bmp),
         (_begins(header, b"RIFF"), riff)],
        lambda: tf.constant(0, tf.int64), exclusive=True,
    )  # fmt: skip


def _decode_png(file, channels, header):
    image = tf.io.decode_png(file, channels)
    if channels == 4:
        return image

    def on_white():
        alpha = tf.cast(tf.io.decode_png(file, 4)[..., 3:], tf.float32) / 255
        return tf.cast(tf.round(alpha * tf.cast(image, tf.float32) + 255 * (1 - alpha)), tf.uint8)

    # Of kinds without transparency TensorFlow's fourth channel is not always opaque.
    has_alpha = tf.reduce_any(header[25] == PNG_WITH_ALPHA) | has_transparent_colour(file)
    return tf.cond(has_alpha, on_white, lambda: image)


def has_transparent_colour(file):
    """Whether a PNG has a chunk `tRNS` before its pixels."""
    before = tf.strings.split(tf.strings.substr(file, 0, HEADER), "IDAT")[0]
    return tf.strings.length(tf.strings.split(before, "tRNS")[0]) < tf.strings.length(before)


def _decode_jpeg(file, channels, header):
    if channels == 4:
        image = tf.io.decode_image(file, 4)  # raises, with TensorFlow's reason
    elif channels == 3:
        image = tf.io.decode_jpeg(file, 3)
    else:  # the library makes no grey of the four colours of printers
        image = tf.cond(
            tf.image.extract_jpeg_shape(file)[2] == 4,
            lambda: tf.image.rgb_to_grayscale(tf.io.decode_jpeg(file, 3)),
            lambda: tf.io.decode_jpeg(file, 1),
        )  # fmt: skip
    turns = {0: lambda: image, 1: lambda: image}
    turns |= {number: lambda turn=turn: turn(image) for number, turn in TURNS.items()}
    return tf.switch_case(orientation(header), turns, default=turns[0])


def orientation(header):
    """Exif's orientation of a JPEG, 1 to 8, from its first bytes; 0 if there is none."""
    size = tf.shape(header)[0]
    name = [header[i : size - 5 + i] for i in range(6)]
    found = tf.reduce_all([part == code for part, code in zip(name, b"Exif\0\0")], axis=0)
    start = tf.argmax(found, output_type=tf.int32) + 6  # of a TIFF file
    little = header[start] == ord("I")

    def number(at, width):
        at = tf.minimum(at, size - 4)
        return tf.where(little, _number(header, at, width), _number(header, at, -width))

    directory = start + tf.cast(number(start + 4, 4) % HEADER, tf.int32)
    entries = directory + 2 + 12 * tf.range(tf.cast(number(directory, 2), tf.int32) % 512)
    values = tf.where(number(entries, 2) == 0x0112, number(entries + 8, 2), 0)
    value = tf.reduce_max(tf.concat([[tf.constant(0, tf.int64)], values], 0))
    return tf.where(tf.reduce_any(found), tf.cast(value, tf.int32), 0)


def _begins(header, magic):
    return tf.reduce_all(header[: len(magic)] == list(magic))


def first_bytes(file):
    """The first bytes of a file, at least 32, zeros behind its end, `(bytes,)` int32."""
    begin = tf.strings.substr(tf.strings.join([file, b"\0" * 32]), 0, HEADER)
    return tf.cast(tf.io.decode_raw(begin, tf.uint8), tf.int32)


def _number(header, at, width):
    """The integers of `width` bytes at some positions, the lowest first; if < 0 the highest."""
    order = range(width) if width > 0 else reversed(range(-width))
    parts = [tf.cast(tf.gather(header, at + i), tf.int64) * 256**n for n, i in enumerate(order)]
    return tf.add_n(parts)

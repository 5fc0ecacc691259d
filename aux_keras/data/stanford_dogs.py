"""The larger training set of StanfordDogs (Sermanet et al. 2014).

The breeds of StanfordDogs are classes of ILSVRC-2012, and its images come from there: the
training images of ILSVRC-2012 of these breeds, less those in the StanfordDogs test list,
are a larger training set for the same test set.
"""

import pathlib

import numpy as np
import tensorflow as tf

IMAGES = {".jpeg", ".jpg", ".png"}


def larger_training_set(manual_dir, label_names, test_files):
    """Training images of ILSVRC-2012, without the test images of StanfordDogs.

    The same image is `n02085620/n02085620_10074.JPEG` in one and
    `n02085620-Chihuahua/n02085620_10074.jpg` in the other: the stem tells.

    Args:
        manual_dir: folder with a folder for every breed, named after its WordNet id.
        label_names: names of the classes, each a WordNet id, a hyphen and more.
        test_files: names of the files in the test set.

    Returns:
        `(paths, labels, left_out)`: a list of `pathlib.Path` and an int array, in a fixed
        random order; and how many images are left out.

    Raises:
        FileNotFoundError: if a breed has no folder, or no image in it.
    """
    excluded = {pathlib.PurePath(name).stem for name in test_files}
    paths, labels, left_out = [], [], 0
    for label, name in enumerate(label_names):
        folder = pathlib.Path(manual_dir) / name.split("-", 1)[0]
        found = sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGES)
        if not found:
            raise FileNotFoundError(
                "`manual_dir` must have a folder of images for each of the "
                f"{len(label_names)} breeds, named after its WordNet id. Received: "
                f"manual_dir={manual_dir}, which has no image in {folder.name}"
            )
        kept = [p for p in found if p.stem not in excluded]
        left_out += len(found) - len(kept)
        paths += kept
        labels += [label] * len(kept)
    order = np.random.RandomState(0).permutation(len(paths))  # classes are mixed in any first N
    return [paths[i] for i in order], np.array(labels)[order], left_out


def read(paths, labels):
    """A dataset of `(image, label)`: `(height, width, 3)` uint8 and int64 scalars."""
    files = tf.data.Dataset.from_tensor_slices(([str(p) for p in paths], labels))

    def load(path, label):
        image = tf.py_function(_decode, [path], tf.uint8)
        return tf.ensure_shape(image, (None, None, 3)), label

    return files.map(load, tf.data.AUTOTUNE)


def _decode(path):
    path = path.numpy().decode()
    try:
        return tf.io.decode_image(pathlib.Path(path).read_bytes(), 3, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"The image {path} cannot be decoded: {error.message}") from error

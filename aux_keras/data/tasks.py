"""Tasks by name: what the training loop is given."""

from aux_keras.data import documents, pixels

DOCUMENTS = ("dbpedia",)


def load(
    task, seed, data_dir=None, download=False, manual_dir=None, image_size=None,
    train_examples=None, test_examples=None, validation_fraction=0.0, permutation="random",
    use_titles=True, bucket_lengths=(),
):  # fmt: skip
    """A task by its name.

    Args: see `pixels.load_images`, `documents.load` and `datasets`.

    Returns:
        `SequenceTask` or `DocumentTask`. Both have `time` and `features`, or None and a
        `vocabulary_size`; `classes`, `sizes`, `notes`, `preprocessing()`, `epoch_steps()`,
        `training()` and `evaluation()`.
    """
    common = {
        "data_dir": data_dir,
        "manual_dir": manual_dir,
        "train_examples": train_examples,
        "test_examples": test_examples,
        "validation_fraction": validation_fraction,
    }
    if task in DOCUMENTS:
        if download or image_size is not None:
            raise ValueError(
                f"`download` and `image_size` are not for {task}, which is prepared from its csv "
                f"files: `--manual_dir=DIR`. Received: {download=}, {image_size=}"
            )
        return documents.load(task, seed, bucket_lengths, use_titles, **common)
    return pixels.load_images(task, seed, image_size, permutation, download=download, **common)

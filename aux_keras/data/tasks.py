"""Tasks by name: what the training loop is given."""

from aux_keras.data import documents, pixels

DOCUMENTS = ("dbpedia",)


def load(
    task, seed, download=False, image_size=None, permutation="random", use_titles=True,
    bucket_lengths=(), **common,
):  # fmt: skip
    """A task by its name.

    Args: see `pixels.load_images`, `documents.load` and `datasets`; `common` is what both take.

    Returns:
        `SequenceTask` or `DocumentTask`. Both have `time` and `features`, or None and a
        `vocabulary_size`; `classes`, `sizes`, `notes`, `preprocessing()`, `epoch_steps()`,
        `training()` and `evaluation()`.
    """
    if task in DOCUMENTS:
        if download or image_size is not None:
            raise ValueError(
                f"`download` and `image_size` are not for {task}, which is prepared from its csv "
                f"files: `--manual_dir=DIR`. Received: {download=}, {image_size=}"
            )
        return documents.load(task, seed, bucket_lengths, use_titles, **common)
    return pixels.load_images(task, seed, image_size, permutation, download=download, **common)

"""Documents as batches of characters, in buckets of similar length, with `tf.data`.

Order: encode, cache, shuffle, batch by length, repeat, map, prefetch.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from aux_keras.data import datasets, transforms


@dataclasses.dataclass(frozen=True)
class DocumentTask:
    """A task as documents: batches of `({"tokens", "lengths"}, label)`.

    `splits` are datasets of `((time,) uint8 characters, label)`; `lengths` the numbers of
    characters of each document, as arrays by split. `bucket_lengths` are the lengths to
    which batches are padded; no document is longer than the last.
    """

    splits: dict[str, tf.data.Dataset]
    lengths: dict[str, np.ndarray]
    label_names: list[str]
    bucket_lengths: tuple[int, ...]
    use_titles: bool
    seed: int
    notes: list[str]

    time = features = None
    vocabulary_size = transforms.VOCABULARY

    @property
    def classes(self):
        return len(self.label_names)

    @property
    def sizes(self):
        """Examples by split name."""
        return {name: len(lengths) for name, lengths in self.lengths.items()}

    def preprocessing(self):
        """What a model must be told to read raw text, as JSON values."""
        return {
            "alphabet": transforms.ALPHABET,
            "use_titles": self.use_titles,
            "max_length": self.bucket_lengths[-1],
            "label_names": list(self.label_names),
        }

    def epoch_steps(self, batch_size, split="train"):
        """Batches that hold every document of a split once."""
        buckets = np.searchsorted(self.bucket_lengths, self.lengths[split])
        return int(sum(-(-count // batch_size) for count in np.bincount(buckets)))

    def training(self, batch_size, first_step=0):
        """Endless batches of the training split, every document once in each epoch.

        Documents come in random order, a batch as soon as its bucket has enough of them;
        what is left at the end of an epoch makes smaller batches. The order is a function
        of the seed, so that a pipeline that starts at a step gives exactly what the
        unbroken one gives from there on.

        Args:
            batch_size: int.
            first_step: int, batches to leave out.

        Returns:
            dataset of `{"tokens": (batch, time) uint8, "lengths": (batch,) int32}` and
            `(batch,)` labels.
        """
        examples = self.splits["train"].shuffle(self.sizes["train"], seed=self.seed)
        batches = self._in_buckets(examples, batch_size).repeat().skip(first_step)
        batches = batches.map(as_inputs, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
        return batches.with_options(datasets.UNTUNED)

    def evaluation(self, split):
        """One pass over a split, no document left out."""
        batches = self._in_buckets(self.splits[split], datasets.EVALUATION_BATCH)
        count = self.epoch_steps(
            datasets.EVALUATION_BATCH, split
        )  # TensorFlow's own count is too large
        batches = batches.apply(tf.data.experimental.assert_cardinality(count))
        batches = batches.map(as_inputs, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
        return batches.with_options(datasets.UNTUNED)

    def _in_buckets(self, examples, batch_size):
        # TensorFlow's boundaries are the first lengths that belong to the next bucket, and
        # nothing is in the bucket behind the last.
        return examples.bucket_by_sequence_length(
            lambda tokens, label: tf.size(tokens),
            bucket_boundaries=[length + 1 for length in self.bucket_lengths],
            bucket_batch_sizes=[batch_size] * (len(self.bucket_lengths) + 1),
            pad_to_bucket_boundary=True,
        )


@tf.autograph.experimental.do_not_convert
def as_inputs(tokens, label):
    """A padded batch as a model takes it; every document has at least one character."""
    lengths = tf.reduce_sum(tf.cast(tokens > 0, tf.int32), axis=1)
    return {"tokens": tokens, "lengths": lengths}, label


def load(
    name, seed, bucket_lengths, use_titles=True, data_dir=None, manual_dir=None,
    train_examples=None, test_examples=None, validation_fraction=0.0,
):  # fmt: skip
    """A document classification task; see `prepared.documents` and `datasets.split_bounds` too.

    A document longer than the last bucket is cut to it, and one without a character
    (titles may be all it has) is left out; both are counted in `notes`.

    Args:
        name: `dbpedia`.
        seed: int.
        bucket_lengths: increasing tuple of int.
        use_titles: bool, whether titles go before contents.

    Returns:
        `DocumentTask`.
    """
    from aux_keras.data import prepared  # slow to import, and `digits` does without

    read, sizes, names, notes = prepared.documents(name, data_dir, manual_dir)
    bounds = datasets.split_bounds(sizes, train_examples, test_examples, validation_fraction)
    longest, splits, lengths = bucket_lengths[-1], {}, {}

    @tf.autograph.experimental.do_not_convert
    def encode(title, content, label):
        return transforms.encode_text(transforms.join_text(title, content, use_titles)), label

    for split, (source, start, end) in bounds.items():
        if start == end:
            lengths[split] = np.zeros(0, int)
            continue
        encoded = read(source, start, end).map(encode, tf.data.AUTOTUNE).cache()
        found = np.array([n for n in encoded.map(lambda t, y: tf.size(t)).as_numpy_iterator()], int)
        lengths[split] = np.minimum(found[found > 0], longest)
        kept = encoded.filter(lambda tokens, label: tf.size(tokens) > 0)
        splits[split] = kept.map(lambda tokens, label: (tokens[:longest], label))
        notes.append(
            f"{name} {split}: {len(found)} documents, {np.sum(found > longest)} of them cut to "
            f"{longest} characters, {np.sum(found == 0)} without any left out"
        )
    return DocumentTask(splits, lengths, names, tuple(bucket_lengths), use_titles, seed, notes)

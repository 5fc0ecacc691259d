"""The pictures of a run: reconstructions in TensorBoard, and figures and a page at its end."""

import importlib.util

import keras
import numpy as np
import tensorflow as tf

from aux_keras.losses.reconstruction import Reconstruction
from aux_keras.models.memory_profile import memory_profile
from aux_keras.pictures import report
from aux_keras.pictures.reconstructions import Reconstructed
from aux_keras.training import workdir as folder

SHOWN, CONFUSED = 6, 2000  # sequences


def check():
    """Raises a `ValueError` if there is nothing to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(
            "`pictures` must be false without matplotlib: pip install 'aux_keras[experiments]'. "
            "Received: pictures=True"
        )


def measured(task):
    """A batch of two sequences or more to measure memory by, never of the test split, or None."""
    for split in ("validation", "train"):
        for inputs, *_ in task.evaluation(split) if task.sizes[split] else ():
            if len(keras.tree.flatten(inputs)[0]) > 1:
                return keras.tree.map_structure(lambda part: part.numpy(), inputs)
    return None


def seen(task):
    """The longest of the first sequences of the validation split, or else of the training split.

    None if none of them has a token before its last one.
    """
    split = "validation" if task.sizes["validation"] else "train"
    batch = next(iter(task.evaluation(split).take(1)))[0]
    rows = slice(SHOWN)
    if isinstance(batch, dict):
        rows = np.sort(np.argsort(-batch["lengths"].numpy(), kind="stable")[:SHOWN])
        rows = rows[batch["lengths"].numpy()[rows] > 1]
        if not len(rows):
            return None
    return keras.tree.map_structure(lambda part: part.numpy()[rows], batch)


class ReconstructionLog(keras.callbacks.Callback):
    """Shows what decoders reconstruct to TensorBoard, after every epoch that ends in a validation.

    Args:
        directory: folder of the events.
        model: model with auxiliary losses.
        task: the run's task.
    """

    def __init__(self, directory, model, task):
        super().__init__()
        losses = [loss.name for loss in model.auxiliary if isinstance(loss, Reconstruction)]
        self.reconstructors = [Reconstructed(model, loss) for loss in losses]
        self.directory, self.writer = str(directory), None
        self.inputs = seen(task) if losses else None

    def on_epoch_end(self, epoch, logs=None):
        validated = any(name.startswith("val_") for name in logs or {})
        if self.inputs is None or not validated:
            return
        if self.writer is None:
            self.writer = tf.summary.create_file_writer(self.directory)
        with self.writer.as_default(step=epoch):
            for each in self.reconstructors:
                found = each(self.inputs)
                if found.tokens.ndim == 2:
                    lines = "".join(f"    {line}\n" for line in found.text().splitlines())
                    tf.summary.text(found.loss, lines)
                else:
                    png = tf.io.decode_png(report.as_png(found.plot()), channels=3)
                    tf.summary.image(found.loss, png[None])
        self.writer.flush()


def confusion(model, task):
    """The confusion of the first test examples, as a figure."""

    @tf.function(reduce_retracing=True, autograph=False)
    def predict(x):
        return tf.argmax(model(x, training=False), -1)

    labels, predicted, count = [], [], 0
    for x, y, *_ in task.evaluation("test"):
        labels.append(y.numpy())
        predicted.append(predict(x).numpy())
        count += len(labels[-1])
        if count >= CONFUSED:
            break
    names = task.preprocessing()["label_names"]
    return report.confusion(np.concatenate(labels), np.concatenate(predicted), names)


def write(place, model, task, config, rows, result):
    """Writes `figures/` and `report.html` of a run that is trained.

    Args:
        place: folder of the run.
        model, task, config: the run's.
        rows: list of dict, its metrics by epoch.
        result: dict, what `result.json` will hold.
    """
    sections = [("Curves", "curves", report.curves(rows))]
    sections.append((f"Confusion, first {CONFUSED} test examples", "confusion",
                     confusion(model, task)))  # fmt: skip
    texts, batch, shown = {}, measured(task), seen(task)
    for loss in model.auxiliary:
        if batch is not None:
            profile = memory_profile(model, batch, loss.name)
            heading = f"What the RNN remembers: {loss.name}"
            sections.append((heading, f"memory_profile_{loss.name}", profile.plot().figure))
        if isinstance(loss, Reconstruction) and shown is not None:
            found = Reconstructed(model, loss.name)(shown)
            sections.append((f"Sequences as {loss.name} says them", loss.name, found.plot()))
            if found.tokens.ndim == 2:
                texts[loss.name] = found.text()
    figures, shown_as = place / folder.FIGURES, []
    figures.mkdir(exist_ok=True)
    for heading, name, figure in sections:
        with folder.replacing(figures / f"{name}.svg") as temporary:
            figure.savefig(temporary)
        png = report.as_png(figure)
        shown_as.append((heading, png))
        with folder.replacing(figures / f"{name}.png") as temporary:
            temporary.write_bytes(png)
    for name, text in texts.items():
        folder.write_text(figures / f"{name}.txt", text)
    title = f"{config.task}, {config.method}: test accuracy {100 * result['test_accuracy']:.1f} %"
    page = report.page(title, result, shown_as, config.flagfile())
    folder.write_text(place / folder.REPORT, page)

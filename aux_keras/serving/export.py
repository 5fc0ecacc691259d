"""Writes a trained classifier for others to use."""

import os
import pathlib
import tempfile
import uuid
import zipfile

import keras
import tensorflow as tf

from aux_keras.serving import FORMATS, onnx_graph
from aux_keras.serving.endpoints import Endpoints


def export_model(model, path, format="saved_model"):
    """Writes the classifier alone, without optimizer or auxiliary losses.

    Args:
        model: a built `AuxiliaryClassifier` or `TransformerClassifier`.
        path: a SavedModel's folder, which must be empty if it exists; or an ONNX file.
        format: `"saved_model"`, with the functions of `endpoints`, for
            `tf.saved_model.load` where neither keras nor aux_keras need be installed; or
            `"onnx"`, `serve` alone, which needs the extra `onnx`.

    Raises:
        ValueError: on another format, a model that is not built or that ONNX cannot express,
            or a `preprocessing` that does not fit it.
        OSError: if `path` cannot be written, or holds something.
        ImportError: if what writes ONNX is not installed.

    Example:
        >>> model = AuxiliaryClassifier(
        ...     classes=10, rnn=keras.layers.LSTM(32), supervised_truncation=16,
        ...     classifier_units=64, drop_rate=0.5)
        >>> model.build((None, None, 1))
        >>> import tempfile
        >>> export_model(model, tempfile.mkdtemp())
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {FORMATS}. Received: {format=}")
    Endpoints(model)  # refuses a model before anything is made
    path = pathlib.Path(path).resolve()
    empty = format == "saved_model" and path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty:
        what = "must not exist" if format == "onnx" else "must not exist, or be an empty folder"
        raise FileExistsError(f"the path to write {what}. Received: {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f"unfinished-{uuid.uuid4().hex}-", dir=path.parent
    ) as folder:
        temporary = pathlib.Path(folder) / path.name
        if format == "onnx":
            onnx_graph.write(model, temporary)
        else:
            write_saved_model(model, temporary)
        os.replace(temporary, path)


def write_saved_model(model, path):
    """Writes a SavedModel with every function of `endpoints` as a signature."""
    functions = Endpoints(model).functions()
    archive = keras.export.ExportArchive()
    archive.track(model.model)
    for name, (function, specs) in functions.items():
        archive.add_endpoint(name, function, specs)
    archive.write_out(str(path), verbose=False)


def export_run(workdir, output, format):
    """Exports the model of a finished run.

    Args:
        workdir: folder of the run.
        output: see `path` of `export_model`.
        format: see `export_model`.

    Raises:
        ValueError, OSError, ImportError: if there is no such model, or it cannot be written.
    """
    model = pathlib.Path(workdir) / "model.keras"
    if not model.exists():
        raise FileNotFoundError(f"`--workdir` must be the folder of a finished run: no {model}")
    if not zipfile.is_zipfile(model):
        raise ValueError(f"{model} cannot be read as a model: rerun the same `aux-keras train`")
    try:
        loaded = keras.models.load_model(model, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{model} cannot be read as a model: {error}") from error
    try:
        export_model(loaded, output, format)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error

"""A classifier as an ONNX graph."""

import importlib

import tensorflow as tf

from aux_keras.serving.endpoints import Endpoints

OPSET = 18


def write(model, path):
    """Writes `serve` of a built classifier; ONNX has no checks, what is refused is not.

    Inputs `tokens` `(batch, time, features)` or `(batch, time)` and `lengths` `(batch,)`,
    outputs `probabilities` and `labels`, batch and time free.

    Raises:
        ImportError: if tf2onnx is not installed.
    """
    try:
        tf2onnx = importlib.import_module("tf2onnx")
    except ImportError as error:
        raise ImportError("`format='onnx'` needs tf2onnx: pip install 'aux_keras[onnx]'") from error
    endpoints = Endpoints(model, checks=False)
    function, specs = endpoints.functions()["serve"]
    tf2onnx.convert.from_function(
        tf.function(function, input_signature=specs), specs, opset=OPSET, output_path=str(path)
    )

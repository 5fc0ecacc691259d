"""A classifier as an ONNX graph."""

import importlib
import logging

import numpy as np
import tensorflow as tf

from aux_keras.serving.endpoints import Endpoints

OPSET = 18
PROBES = ((1, 1), (3, 7), (2, 48))  # batch, time


def write(model, path):
    """Writes `serve` of a built classifier; ONNX has no checks, what is refused is not.

    Inputs `tokens` `(batch, time, features)` float32 or `(batch, time)` int32 and `lengths`
    `(batch,)` int32, outputs `probabilities` and `labels`; batch, from 1 on, and time free. The
    file is run by onnxruntime and compared with the model before it is kept.

    Raises:
        ImportError: if tf2onnx or onnxruntime is not installed.
        ValueError: if ONNX cannot express the model: half precision, a uRNN, attention.
    """
    tf2onnx, onnxruntime = (_optional(name) for name in ("tf2onnx", "onnxruntime"))
    if model.compute_dtype != "float32":
        raise ValueError(f"`format='onnx'` needs a float32 model. Received: {model.compute_dtype}")
    endpoints = Endpoints(model, checks=False)
    function, specs = endpoints.functions()["serve"]
    function = tf.function(function, input_signature=specs, autograph=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # the comparison finds what it warns of
    try:
        tf2onnx.convert.from_function(function, specs, opset=OPSET, output_path=str(path))
        session = onnxruntime.InferenceSession(str(path), options)
        apart = max(_difference(session, function, endpoints, *probe) for probe in PROBES)
    except OSError:
        raise
    except Exception as error:  # both raise whatever they stumble over
        line = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"`format='onnx'` cannot express this model: {line[0][:200]}") from error
    finally:
        logger.setLevel(level)
    if not apart <= 1e-5:
        raise ValueError(
            "`format='onnx'` cannot express this model: onnxruntime's probabilities differ "
            f"by {apart:.2g}"
        )


def _optional(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"`format='onnx'` needs {name}: pip install 'aux_keras[onnx]'") from error


def _difference(session, function, endpoints, batch, time):
    """Largest difference of probabilities between the file and the model."""
    rng, spec = np.random.default_rng(0), endpoints.model.tokens_spec()
    lengths = rng.integers(1, time, batch, "int32", endpoint=True)
    if spec.dtype.is_integer:
        tokens = rng.integers(0, endpoints.model.vocabulary_size, (batch, time), "int32")
    else:
        tokens = rng.random((batch, time, spec.shape[-1]), "float32")
    (found,) = session.run(["probabilities"], {"tokens": tokens, "lengths": lengths})
    return float(np.abs(found - function(tokens, lengths)["probabilities"]).max())

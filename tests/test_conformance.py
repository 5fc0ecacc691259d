"""The promises that all layers make, one test each over one list."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from tests.conformance import CASES

CALLED = {name: case for name, case in CASES.items() if case.inputs() is not None}
TRAINED = {name: case for name, case in CASES.items() if case.trains}


def call(layer, inputs):
    return layer(**inputs) if isinstance(inputs, dict) else layer(inputs)


def numbers(outputs):
    return [np.asarray(t) for t in tf.nest.flatten(outputs)]


def test_no_public_layer_is_missing_from_the_list():
    public = [c for c in (getattr(ak, n) for n in ak.__all__) if isinstance(c, type)]
    layers = {c.__name__ for c in public if not issubclass(c, keras.Model)}
    assert layers == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_config_holds_every_argument_and_survives_json(name):
    layer = CASES[name].make()
    config = layer.get_config()
    arguments = set(inspect.signature(type(layer).__init__).parameters)
    assert arguments - {"self", "kwargs"} <= set(config)
    text = json.dumps(keras.saving.serialize_keras_object(layer), sort_keys=True)
    revived = keras.saving.deserialize_keras_object(json.loads(text))
    assert json.dumps(keras.saving.serialize_keras_object(revived), sort_keys=True) == text
    config = json.loads(json.dumps(config))
    for _ in range(2):  # `from_config` leaves what it is given as it was
        type(layer).from_config(config)
        assert config == json.loads(json.dumps(layer.get_config()))


@pytest.mark.parametrize("name", TRAINED)
def test_builds_from_a_shape_as_from_a_call(name):
    case = CASES[name]
    built, called = case.make(), case.make()
    built.build(case.inputs().shape)
    called(case.inputs())
    shapes = [[w.shape for w in layer.weights] for layer in (built, called)]
    assert shapes[0] == shapes[1]
    for layer in (case.make(), built):
        assert layer.compute_output_shape(case.inputs().shape) == called(case.inputs()).shape


@pytest.mark.parametrize("name", CALLED)
def test_eager_equals_traced(name):
    case = CASES[name]
    layer = case.make()
    inputs = case.inputs()
    call(layer, inputs)  # builds, and advances a seed generator
    if hasattr(layer, "seed_generator"):
        key = tf.constant([1, 2])
        if name == "AnchorSampler":
            inputs = {"lengths": inputs, "key": key}
    eager = call(layer, inputs)
    traced = tf.function(lambda: call(layer, inputs))()
    for one, other in zip(numbers(eager), numbers(traced)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_unknown_batch_and_time(name):
    case = CASES[name]
    layer = case.make()
    inputs = case.inputs()
    wanted = layer(inputs)
    signature = tf.TensorSpec((None, None, inputs.shape[-1]), tf.float32)
    traced = tf.function(lambda x: layer(x), input_signature=[signature])
    np.testing.assert_allclose(traced(inputs), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(traced(inputs[:1]), wanted[:1], rtol=1e-5, atol=1e-6)
    assert traced(inputs[:0]).shape[0] == 0


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", TRAINED)
def test_mixed_precision(name, policy):
    case = CASES[name]
    layer = case.make(dtype=policy)
    outputs = layer(case.inputs())
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    assert {w.dtype for w in layer.trainable_weights} == {"float32"}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", TRAINED)
def test_one_compiled_step_trains_every_weight(name, jit_compile):
    case = CASES[name]
    layer, inputs = case.make(), case.inputs()
    model = keras.Sequential([keras.Input(inputs.shape[1:]), layer])
    model.compile("sgd", "mse", jit_compile=jit_compile)
    before = [w.numpy() for w in layer.trainable_weights]
    model.fit(inputs, np.ones(model.output_shape[1:], "f")[None].repeat(3, 0), verbose=0)
    for weight, old in zip(layer.trainable_weights, before):
        assert np.any(weight.numpy() != old), weight.path


@pytest.mark.parametrize("name", TRAINED)
def test_saved_and_loaded(name, tmp_path):
    case = CASES[name]
    inputs = case.inputs()
    model = keras.Sequential([keras.Input(inputs.shape[1:]), case.make()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(inputs), model(inputs), rtol=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_exported(name, tmp_path):
    case = CASES[name]
    inputs = case.inputs()
    model = keras.Sequential([keras.Input(inputs.shape[1:]), case.make()])
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(served.serve(inputs), model(inputs), rtol=1e-5, atol=1e-6)

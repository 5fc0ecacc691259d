"""The Transformer baselines as Keras models."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras import randomness
from aux_keras.config import ExperimentConfig
from aux_keras.models import factory
from tests import test_attention
from tests.test_config import read_by

TIME, CLASSES, UNITS = 13, 3, 8
LENGTHS = [1, 2, 5, 12, 13, 13]
FULL = dict(method="transformer")
TDMCA = dict(method="tdmca", transformer_layers=3, feed_forward="separable", attention_block=4,
             attention_margin=2)  # fmt: skip
BOTH = pytest.mark.parametrize("options", [FULL, TDMCA], ids=["transformer", "tdmca"])


def build(options, time=None, features=2, vocabulary_size=None, eagerly=False, **more):
    small = dict(
        units=UNITS, embedding_units=UNITS, intermediate_dim=12, num_heads=2, classifier_units=6
    )
    small = read_by(options["method"], **small)
    config = ExperimentConfig(**{**small, **options, **more})
    model = factory.build(
        config, time, None if vocabulary_size else features, CLASSES, vocabulary_size
    )
    loss = "sparse_categorical_crossentropy"
    model.compile("rmsprop", loss, metrics=["accuracy"], run_eagerly=eagerly)
    return model


def batch(time=TIME):
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(len(LENGTHS), TIME, 2)).astype("float32")
    padding = np.full((len(LENGTHS), time - TIME, 2), 1e3, "float32")
    x = {"tokens": np.concatenate([tokens, padding], 1), "lengths": np.array(LENGTHS)}
    return x, np.arange(len(LENGTHS)) % CLASSES


def count(config, **options):
    model = factory.build(ExperimentConfig(**config, **options), time=784, features=1, classes=10)
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def test_weight_counts():
    """Embedding 1*128 + 128; classifier 128*256 + 256 + 256*10 + 10. A block of the Transformer:
    four matrices of 128*128, two normalizations, 128*512 + 512 + 512*128 + 128. One of T-DMCA: the
    same matrices and normalizations, two separable convolutions (a depthwise kernel of its width
    times 128, 128*128, 128); two of its five blocks have two convolutions of 3*128*128 + 128."""
    embedding, classifier, norm = 256, 128 * 256 + 256 + 256 * 10 + 10, 2 * 128
    attention = 4 * 128 * 128
    dense = 128 * 512 + 512 + 512 * 128 + 128
    assert count(FULL) == embedding + 2 * (attention + dense + 2 * norm) + norm + classifier
    assert count(FULL) == 431_626
    separable = sum(size * 128 + 128 * 128 + 128 for size in (3, 31))
    compression = 2 * (3 * 128 * 128 + 128)
    tdmca = dict(
        method="tdmca", transformer_layers=5, intermediate_dim=128, feed_forward="separable"
    )
    blocks = 5 * (attention + separable + 2 * norm) + 2 * compression
    assert count(tdmca) == embedding + blocks + norm + classifier == 750_346


def normalized(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * layer.gamma.numpy() + layer.beta.numpy()


def feed_forward(layer, x):
    """A dense layer, or a separable convolution with zeros beyond both ends."""
    if isinstance(layer, keras.layers.Dense):
        return x @ layer.kernel.numpy() + layer.bias.numpy()
    depthwise, pointwise = layer.layers[0].kernel.numpy()[:, :, 0], layer.layers[1]
    reach = len(depthwise) // 2
    x = np.pad(x, ((reach, reach), (0, 0)))
    outputs = [(depthwise * x[t : t + len(depthwise)]).sum(0) for t in range(len(x) - 2 * reach)]
    return np.array(outputs) @ pointwise.kernel.numpy() + pointwise.bias.numpy()


def slow(model, tokens, dropped=lambda x, block, site: x):
    """The mean of the last outputs for one sequence `(length, features)`."""
    embedding = model.embedding
    x = (tokens @ embedding.kernel.numpy() + embedding.bias.numpy()) * UNITS**0.5
    half = UNITS // 2
    angle = np.arange(len(x))[:, None] / 10_000 ** (np.arange(half) / (half - 1))
    x = x + np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    x = dropped(x, len(model.encoder.blocks), 0)
    for i, block in enumerate(model.encoder.blocks):
        attended = test_attention.slow(block.attention, normalized(block.attention_norm, x))
        x = x + dropped(attended, i, 0)
        hidden = np.maximum(feed_forward(block.hidden, normalized(block.feed_forward_norm, x)), 0)
        x = x + dropped(feed_forward(block.output_layer, dropped(hidden, i, 1)), i, 2)
    return normalized(model.encoder.norm, x).mean(0)


def logits(model, mean):
    hidden = np.maximum(mean @ model.hidden.kernel.numpy() + model.hidden.bias.numpy(), 0)
    return hidden @ model.readout.kernel.numpy() + model.readout.bias.numpy()


@BOTH
def test_equals_a_slow_recomputation(options):
    model = build(options)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    x, _ = batch()
    probabilities = model.predict(x, verbose=0)
    for tokens, length, row in zip(x["tokens"], LENGTHS, probabilities):
        wanted = test_attention.softmax(logits(model, slow(model, tokens[:length])))
        np.testing.assert_allclose(row, wanted, rtol=1e-3, atol=1e-5)


@BOTH
@pytest.mark.parametrize("training", [False, True])
def test_padding_never_matters(options, training):
    model = build(options, transformer_drop_rate=0.0)
    results = []
    for time in (TIME, TIME + 6):
        x, y = batch(time)
        with tf.GradientTape() as tape:
            probabilities, _, _ = model.forward(x, model.key(0, 0), training)
            loss, _ = model.losses_of(x, y, probabilities, None, [])
        results.append([probabilities, loss, *tape.gradient(loss, model.trainable_weights)])
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@BOTH
@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_step_moves_every_trainable_weight(options, jit_compile):
    model = build(options)
    how = {"jit_compile": True} if jit_compile else {"run_eagerly": True}
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], **how)
    before = [w.numpy() for w in model.trainable_weights]
    history = model.fit(*batch(), verbose=0).history
    assert set(history) == {"loss", "supervised_loss", "accuracy"} and int(model.training_step) == 1
    for weight, old in zip(model.trainable_weights, before):
        assert np.any(weight.numpy() != old), weight.path


@BOTH
def test_dropout_is_a_function_of_seed_and_step(options):
    model, (x, _) = build(options, drop_rate=0.0), batch()

    def probabilities(*components):
        return model.forward(x, model.key(*components), training=True)[0].numpy()

    np.testing.assert_array_equal(probabilities(0, 5), probabilities(0, 5))
    assert np.abs(probabilities(0, 5) - probabilities(0, 6)).max() > 1e-3
    np.testing.assert_array_equal(model(x), model(x))
    different = np.abs(model(x, training=True) - model(x, training=True)).max()
    assert different > 1e-3  # outside of a training step the layers draw anew at every call


@BOTH
def test_dropout_equals_a_slow_recomputation(options):
    """Every place that drops does so by a mask of its own: input, attention, hidden layer,
    feed-forward network of each block."""
    model, (x, _) = build(options, transformer_drop_rate=0.4), batch()
    rng, key = np.random.default_rng(1), tf.constant([3, 4])
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    tokens, mask = tf.constant(x["tokens"]), tf.sequence_mask(LENGTHS, TIME)
    with randomness.KeyScope(key, 4):
        means = model.encoder(tokens, mask=mask, training=True)
    key = randomness.fold_in(key, 0)  # the first layer's that draws
    for row, (tokens, length) in enumerate(zip(x["tokens"], LENGTHS)):

        def dropped(values, block, site, row=row):
            own = randomness.fold_in(randomness.fold_in(key, block), site)
            draws = randomness.uniform(own, (len(LENGTHS), TIME, values.shape[-1])).numpy()
            return np.where(draws[row, : len(values)] >= 0.4, values / 0.6, 0)

        wanted = slow(model, tokens[:length], dropped)
        np.testing.assert_allclose(means[row], wanted, rtol=1e-3, atol=1e-5)


def test_the_mean_over_many_steps_keeps_its_precision():
    """In half precision a sum over 16,384 steps would stand still at a half of its value."""
    model = build(FULL, dtype_policy="mixed_float16", transformer_layers=1)
    model.encoder.norm.beta.assign(tf.fill(model.encoder.norm.beta.shape, 3.0))
    model.encoder.norm.gamma.assign(tf.zeros_like(model.encoder.norm.gamma))
    model.encoder.blocks = []  # the norm's output is 3 everywhere, whatever it reads
    mean = model.encoder(tf.zeros((1, 16384, 2)))
    np.testing.assert_allclose(mean, 3.0, rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("method", ["irnn", "urnn", "transformer", "tdmca"])
def test_baselines_train_in_mixed_precision(method, policy):
    bare = dict(embedding_units=0, supervised_truncation="full")
    options = {"transformer": FULL, "tdmca": TDMCA}.get(method, {"method": method, **bare})
    model, (x, y) = build(options, dtype_policy=policy, eagerly=policy == "mixed_bfloat16"), batch()
    assert np.all(np.isfinite(model.fit(x, y, verbose=0).history["loss"]))


@BOTH
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_saved_and_loaded_model_predicts_alike(options, policy, tmp_path):
    model = build(options, dtype_policy=policy, seed=4, eagerly=policy != "float32")
    x, y = batch()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    model.fit(x, y, verbose=0), loaded.fit(x, y, verbose=0)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5)


@BOTH
def test_characters(options):
    model = build(options, vocabulary_size=7, eagerly=True)
    x = {
        "tokens": np.random.default_rng(0).integers(0, 7, (4, 9)),
        "lengths": np.array([1, 9, 4, 3]),
    }
    model.fit(x, np.array([0, 1, 2, 0]), verbose=0)
    alone = {"tokens": x["tokens"][2:3, :4], "lengths": np.array([4])}
    np.testing.assert_allclose(
        model.predict(alone, verbose=0), model.predict(x, verbose=0)[2:3], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(embedding_units=16), "`embedding_units` must equal `units`"),
        (dict(units=7, embedding_units=7, num_heads=1), "`embedding` must be .* of even width"),
        (dict(num_heads=3), "`num_heads` must divide the width"),
    ],
)
def test_bad_configurations_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        build(FULL, **values)


@pytest.mark.parametrize("blocks", ["self", ["self"], [ak.SelfAttention(num_heads=2)]])
def test_what_is_no_list_of_blocks_is_named(blocks):
    with pytest.raises(ValueError, match="`blocks` must be a list of at least one"):
        ak.TransformerClassifier(3, ak.TokenEmbedding(4), blocks)
    with pytest.raises(ValueError, match="`attention` must be a layer"):
        ak.TransformerBlock("self", 8, 0.1)


def test_a_model_without_blocks_is_named():
    with pytest.raises(ValueError, match="`blocks` must be a list of at least one"):
        ak.TransformerClassifier(2, ak.TokenEmbedding(8), [], 8, 0.5, 0.1)

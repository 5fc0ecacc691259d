"""Memory gaps, profiles and reconstructions equal what the slow reference says of a state."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import aux_keras as ak
from aux_keras import randomness
from aux_keras.models import loss_runs
from aux_keras.models.auxiliary_model import EVALUATION
from aux_keras.models.gradient_floor import gradient_floor, gradient_size
from aux_keras.models.memory_gap import MemoryGap, gaps_of
from aux_keras.models.reconstruct import Reconstructor
from tests import reference
from tests.conftest import set_seed
from tests.test_reference import LENGTHS, SEGMENT, TIME, batch, build, characters


def token_errors(model, task, states, segment, feed, uniform):
    """TokenLoss of each token of a segment, decoded from the given states."""
    if len(segment) == 1:
        return []
    if task.reverse:
        segment = segment[::-1]
    if getattr(task, "structure", None) == "stacked":
        predicted = reference.predict_stacked(model, task, segment, states, None)
    else:
        predicted = reference.decode(model, task.decoder, segment, states, feed, uniform, None)
    return [float(reference.error(segment[t + 1], x)) for t, x in enumerate(predicted)]


def slow_recall(model, task, draws, tokens, lengths, shift):
    """`{(sequence, anchor): token errors}` with the states of the sequence `shift` before."""
    found = {}
    for b in range(len(tokens)):
        reader = (b - shift) % len(tokens)
        for i in range(task.num_anchors):
            anchor, start, length = (int(field[b, i]) for field in draws.segments)
            count = anchor + (0 if getattr(task, "structure", None) == "stacked" else 1)
            states = reference.read(model, tokens[reader], min(count, int(lengths[reader])), 0)
            uniform = draws.uniform[b, i].numpy() if draws.uniform.shape[-1] else None
            segment = tokens[b][start : start + length + 1]
            feed = np.full(length, task.name == "prediction")  # always true there, else never
            found[b, i] = token_errors(model, task, states, segment, feed, uniform)
    return found


@pytest.mark.parametrize("make", [build, characters])
def test_recall_and_gap_are_the_losses_with_own_and_rolled_states(make):
    model = make(n=2, memory_gap=True, p=dict(structure="decoder", layers=2))
    x, _ = batch(model)
    reading = model.reading(x)
    for task, recall in zip(model.auxiliary, model.recall(reading, model.auxiliary)):
        assert not np.any(recall.draws.feed)
        sums = {}
        for shift, got in enumerate((recall.own, recall.other)):
            wanted = slow_recall(model, task, recall.draws, x["tokens"], LENGTHS, shift)
            for (b, i), errors in wanted.items():
                np.testing.assert_allclose(got[b, i, : len(errors)], errors, rtol=1e-4, atol=1e-5)
            sums[shift] = wanted
        gaps, counted = (np.asarray(t) for t in gaps_of(recall))
        for b in range(len(LENGTHS)):
            own, other = (sum(sum(sums[s][b, i]) for i in range(2)) for s in range(2))
            tokens = sum(len(sums[0][b, i]) for i in range(2))
            assert counted[b] == (tokens > 0)
            if tokens:
                np.testing.assert_allclose(gaps[b], (other - own) / tokens, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", [build, characters])
def test_stacked_prediction_goes_on_from_the_other_state(make):
    model = make(tasks="p", memory_gap=True)
    (task,), (x, _) = model.auxiliary, batch(model)
    (recall,) = model.recall(model.reading(x), [task])
    for shift, got in enumerate((recall.own, recall.other)):
        for (b, i), errors in slow_recall(
            model, task, recall.draws, x["tokens"], LENGTHS, shift
        ).items():
            np.testing.assert_allclose(got[b, i, : len(errors)], errors, rtol=1e-4, atol=1e-5)


def test_language_model_and_autoencoder_go_on_from_the_other_state():
    model = build(tasks="ls", memory_gap=True)
    x, _ = batch(model)
    language, autoencoder = model.recall(model.reading(x), model.auxiliary)
    for shift, name in enumerate(("own", "other")):
        for b, length in enumerate(LENGTHS):
            other = (b - shift) % len(LENGTHS)
            tokens = x["tokens"][b, :length]
            # The second half of a text, read on from a state in its middle.
            half = length // 2
            states = reference.read(model, x["tokens"][other], min(half, LENGTHS[other]), 0)
            for k, t in enumerate(range(half, length - 1)):
                states = reference.step(
                    model.encoder.cell, reference.embed(model, tokens[t : t + 1]), states
                )
                head = reference.head(model.auxiliary[0].readout, states[0], None)
                wanted = reference.error(tokens[t + 1], head)
                np.testing.assert_allclose(
                    getattr(language, name)[b, 0, k], wanted, rtol=1e-4, atol=1e-5
                )
            # The whole of it, written from a state at its end.
            states = reference.read(model, x["tokens"][other], min(length, LENGTHS[other]), 0)
            for t in range(length):
                token = tokens[t - 1 : t] if t else tf.zeros_like(tokens[:1])
                states = reference.step(model.encoder.cell, reference.embed(model, token), states)
                head = reference.head(model.auxiliary[1].readout, states[0], None)
                np.testing.assert_allclose(
                    getattr(autoencoder, name)[b, 0, t],
                    reference.error(tokens[t], head), rtol=1e-4, atol=1e-5,
                )  # fmt: skip


def test_mean_and_standard_error_of_the_metric():
    values = np.array([0.5, -1.0, 2.0, 0.25, 7.0], "float32")
    metric = MemoryGap("gap")
    metric.update_state(values[:3], np.ones(3, "float32"))
    metric.update_state(values[3:], np.array([1, 0], "float32"))  # the last is not counted
    result = metric.result()
    assert float(result["gap"]) == pytest.approx(np.mean(values[:4]))
    wanted = np.std(values[:4], ddof=1) / 2
    assert float(result["gap_error"]) == pytest.approx(wanted, rel=1e-5)


def test_a_batch_of_one_sequence_has_no_gap():
    model = build(tasks="r", memory_gap=True)
    x, _ = batch(model)
    one = {name: value[-1:] for name, value in x.items()}
    (recall,) = model.recall(model.reading(one), model.auxiliary)
    assert np.asarray(gaps_of(recall)[1]).tolist() == [0]
    with pytest.raises(ValueError, match="at least two sequences"):
        ak.memory_profile(model, one)


def test_evaluations_log_the_gap_and_training_does_not():
    model = build(tasks="rp", memory_gap=True)
    x, y = batch(model)
    x = {name: np.asarray(value) for name, value in x.items()}
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, np.asarray(y), epochs=2, validation_data=(x, np.asarray(y)), verbose=0)
    names = {f"val_{task.name}_memory_gap" for task in model.auxiliary}
    names |= {f"{name}_error" for name in names}
    assert names == {name for name in history.history if "memory_gap" in name}
    results = model.evaluate(x, np.asarray(y), return_dict=True, verbose=0)
    recalls = model.recall(model.reading(x), model.auxiliary)
    for task, recall in zip(model.auxiliary, recalls):
        gaps, counted = (np.asarray(t) for t in gaps_of(recall))
        wanted = np.mean(gaps[counted > 0])
        assert results[f"{task.name}_memory_gap"] == pytest.approx(wanted, rel=1e-4)
    assert not build().gap_trackers  # unless it is asked for


def remembering(segment_length=4, **options):
    """A model whose RNN is trained to remember noise: nothing else predicts it."""
    cells = [keras.layers.LSTMCell(24), keras.layers.LSTMCell(24)]
    loss = ak.Reconstruction(
        cells, num_anchors=2, segment_length=segment_length, truncation=8, hidden_units=32,
        drop_rate=0.0, **options,
    )  # fmt: skip
    return ak.AuxiliaryClassifier(
        2, keras.layers.LSTM(24), 4, 8, 0.0, auxiliary=[loss], memory_gap=True,
        sampling_decay_steps=60, seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    """Random bits, and a model that has learnt to reconstruct the last four of them."""
    set_seed(7)  # the fixture of every test comes after those of a module
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (512, 12, 1)).astype("float32")
    model = remembering()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    history = model.pretrain(x, epochs=25, batch_size=64, verbose=0, validation_data=(x[:128],))
    return model, x, history


def test_a_loss_that_needs_the_state_has_a_gap(trained):
    model, _, history = trained
    gap, error = (
        history.history[f"val_reconstruction_memory_gap{part}"][-1] for part in ("", "_error")
    )
    assert gap > 0.2 > 10 * error  # another sequence's bits are wrong half of the time
    assert abs(history.history["val_reconstruction_memory_gap"][0]) < gap / 4


def test_the_profile_is_the_recall_by_distance(trained):
    model, x, _ = trained
    profile = ak.memory_profile(model, x[:64])
    (recall,) = model.recall(model.reading(x[:64]), model.auxiliary)
    assert profile.distances.tolist() == [1, 2, 3, 4] and profile.counts.tolist() == [128] * 4
    for got, losses in ((profile.own, recall.own), (profile.other, recall.other)):
        np.testing.assert_allclose(got, np.mean(losses, axis=(0, 1)), rtol=1e-5)
    assert profile.gap == pytest.approx(np.mean(profile.other - profile.own), rel=1e-4)
    assert np.all(profile.other > profile.own) and profile.own[0] < 0.1
    dataset = tf.data.Dataset.from_tensor_slices((x[:64], np.zeros(64))).batch(32)
    parts = [ak.memory_profile(model, part) for part in (x[:32], x[32:64])]
    whole = ak.memory_profile(model, dataset)
    np.testing.assert_allclose(whole.own, np.mean([p.own for p in parts], axis=0), rtol=1e-5)
    alone = ak.memory_profile(model, dataset.unbatch().take(33).batch(32))
    assert alone.counts.tolist() == parts[0].counts.tolist()  # a sequence without another beside it


def test_the_profile_is_drawn(trained, tmp_path):
    model, x, _ = trained
    axes = ak.memory_profile(model, x[:16]).plot()
    assert [len(line.get_xdata()) for line in axes.lines] == [4, 4]
    axes.figure.savefig(tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 1000


def test_reconstructions_are_what_was_read(trained):
    """The bits before each anchor come back, in the order of the sequence."""
    model, x, _ = trained
    anchors = np.random.default_rng(1).integers(4, 12, (64, 3))
    tokens = model.reconstruct(x[:64], anchors)
    assert tokens.shape == (64, 3, 4, 1)
    wanted = np.stack([[x[b, a - 4 : a] for a in anchors[b]] for b in range(64)])
    assert np.mean((tokens > 0.5) == wanted) > 0.9
    np.testing.assert_allclose(model.reconstruct(x[:64], anchors[:, 0]), tokens[:, 0], atol=1e-5)
    say = Reconstructor(model)  # for batches of any size
    assert [say(x[:rows], 7, length=2)[0].shape for rows in (5, 3)] == [(5, 2, 1), (3, 2, 1)]


@pytest.mark.parametrize(("make", "reverse"), [(build, True), (build, False), (characters, True)])
def test_reconstructions_equal_the_slow_decoder(make, reverse):
    model = make(tasks="r", r=dict(reverse=reverse, feedback="argmax"))
    (task,), (x, _) = model.auxiliary, batch(model)
    x = {name: value[4:] for name, value in x.items()}  # of 8 and TIME tokens
    anchors = [6, 9]
    got = model.reconstruct(x, anchors, length=SEGMENT)
    for b, anchor in enumerate(anchors):
        segment = x["tokens"][b][anchor - SEGMENT : anchor + 1]
        segment = segment[::-1] if reverse else segment
        states = reference.read(model, x["tokens"][b], anchor + 1, 0)
        uniform = np.zeros(SEGMENT) if model.vocabulary_size else None
        predicted = reference.decode(
            model, task.decoder, segment, states, np.zeros(SEGMENT, bool), uniform, None
        )
        predicted = np.concatenate(predicted[::-1] if reverse else predicted)
        predicted = predicted.argmax(-1) if model.vocabulary_size else predicted
        np.testing.assert_allclose(got[b], predicted, atol=1e-5)


@pytest.mark.parametrize(
    ("anchors", "options", "message"),
    [
        (TIME, {}, "`anchors` must be from 1 to the last valid token"),
        ([7, 8], {}, "`anchors` must be from 1 to the last valid token"),  # here [8, 8]
        (0, {}, "`anchors` must be from 1"),
        (1.5, {}, "`anchors` must be an integer"),
        ([[5, 6]], {}, r"of shape \(1, 2\) for a batch of 2"),
        ([5, 6, 7], {}, r"of shape \(3,\) for a batch of 2"),
        (5, dict(length=6), "`length` must be at most 5"),
        (5, dict(length=0), "`length` must be an integer of at least 1"),
        (5, dict(loss="prediction"), "`loss` must name one of"),
    ],
)
def test_bad_requests_are_named(anchors, options, message):
    model = build()
    x, _ = batch(model)
    x = {name: value[4:] for name, value in x.items()}
    if anchors == [7, 8]:
        assert model.reconstruct(x, anchors).shape == (2, SEGMENT, 2)
        anchors = [8, 8]
    with pytest.raises(ValueError, match=message):
        model.reconstruct(x, anchors, **options)


def test_on_any_keras_model():
    network = keras.Sequential(
        [keras.Input((10, 2)), keras.layers.GRU(6), keras.layers.Dense(2, activation="softmax")]
    )
    loss = ak.Reconstruction(
        [keras.layers.GRUCell(6)], num_anchors=1, segment_length=3, truncation=4, hidden_units=6,
        drop_rate=0.0, placement="curriculum",
    )  # fmt: skip
    model = ak.AuxiliaryModel(network, [loss], placement_growth_steps=2, memory_gap=True)
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = np.random.default_rng(0).normal(size=(8, 10, 2)), np.zeros(8)
    history = model.fit(x, y, epochs=3, batch_size=4, verbose=0, validation_data=(x, y))
    assert np.isfinite(history.history["val_reconstruction_memory_gap"]).all()
    assert ak.memory_profile(model, x).distances.min() < 1  # grown: segments spill
    assert model.reconstruct(x, 5).shape == (8, 3, 2)


def test_a_curriculum_needs_its_steps_and_follows_the_clock():
    with pytest.raises(ValueError, match="`placement_growth_steps` must be given"):
        build(tasks="r", r=dict(placement="curriculum"))
    model = build(tasks="r", r=dict(placement="curriculum"), placement_growth_steps=200)
    assert float(loss_runs.schedules(model)[1]) == pytest.approx(0.25)  # at step 50


def test_rolled_states_are_drawn_by_the_key_of_evaluations():
    model = build(tasks="r", memory_gap=True)
    x, _ = batch(model)
    (recall,) = model.recall(model.reading(x), model.auxiliary)
    wanted = model.auxiliary[0].draw_recall(
        x["lengths"], randomness.fold_in(model.key(EVALUATION), 1), 1.0
    )
    for got, want in zip(recall.draws.segments, wanted.segments):
        assert np.array_equal(got, want)


class TestGradientFloor:
    """Epsilon beside the mean square of a gradient that is known."""

    def step(self, optimizer, gradient, steps=3):
        weight = keras.Variable(np.ones((2, 2)), name="recurrent_kernel")
        optimizer.build([weight])
        for _ in range(steps):
            optimizer.apply([tf.fill((2, 2), gradient)], [weight])
        return weight

    @pytest.mark.parametrize("make", [keras.optimizers.RMSprop, keras.optimizers.Adam])
    def test_size_is_that_of_the_gradient(self, make):
        optimizer = make()
        weight = self.step(optimizer, 3e-5)
        assert gradient_size(optimizer, weight) == pytest.approx(3e-5, rel=1e-3)

    def test_floor_is_where_a_step_is_damped(self):
        """A gradient far above the floor moves a weight by about the rate, one below does not."""
        for optimizer in (keras.optimizers.RMSprop(0.1, rho=0.0),
                          keras.optimizers.Adam(0.1, beta_1=0.0, beta_2=0.0)):  # fmt: skip
            floor = gradient_floor(optimizer)
            for gradient, share in ((100 * floor, 1.0), (0.01 * floor, 0.01)):
                fresh = type(optimizer).from_config(optimizer.get_config())
                moved = 1 - float(self.step(fresh, gradient, steps=1)[0, 0])
                assert moved / 0.1 == pytest.approx(share, rel=0.05)
        assert gradient_floor(keras.optimizers.SGD()) is None

    def test_pretrain_warns_and_a_smaller_epsilon_does_not(self):
        x = np.random.default_rng(0).normal(size=(8, 12, 1)) * 1e-3
        for optimizer, damped in (
            (keras.optimizers.RMSprop(), True),
            (keras.optimizers.RMSprop(epsilon=1e-24), False),
        ):
            model = remembering()
            model.compile(optimizer, "sparse_categorical_crossentropy")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.pretrain(x, epochs=1, verbose=0)
            messages = [str(w.message) for w in caught]
            assert damped == any("RMSprop damps the gradient" in m for m in messages), messages

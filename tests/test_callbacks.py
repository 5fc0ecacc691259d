"""Keras's callbacks work as on any other model, also before it is built."""

import keras
import keras_tuner
import numpy as np
import pytest

import aux_keras as ak

L = keras.layers


def losses():
    return [ak.Reconstruction([L.LSTMCell(4)], 1, 3, 3, hidden_units=4, drop_rate=0.0)]


def classifier():
    return ak.AuxiliaryClassifier(3, L.LSTM(4), 5, 4, 0.0, auxiliary=losses())


def model():
    layers = [ak.TruncatedRNN(L.LSTM(4), 5), L.Dense(3, "softmax")]
    return ak.AuxiliaryModel(keras.Sequential(layers), losses())


def arrays():
    return np.random.default_rng(0).normal(size=(6, 8, 2)).astype("float32"), np.arange(6) % 3


@pytest.mark.parametrize("make", [classifier, model])
def test_callbacks_before_any_build(make, tmp_path):
    built = make()
    built.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    callbacks = [
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.EarlyStopping("val_supervised_loss", mode="min", patience=5,
                                      restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9, factor=0.5),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board"),
    ]  # fmt: skip
    x, y = arrays()
    built.fit(x, y, epochs=3, validation_data=(x, y), callbacks=callbacks, verbose=0)
    assert float(built.optimizer.learning_rate) < 0.1  # no loss falls by 1e9
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert len(rows) == 4 and "val_auxiliary_loss" in rows[0]
    assert any((tmp_path / "board").rglob("events*"))
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), built.predict(x, verbose=0), rtol=1e-5)
    copy = type(built).from_config(built.get_config())
    copy.compile("sgd", "sparse_categorical_crossentropy")
    copy.fit(x, y, verbose=0)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:keras_tuner.*")
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")  # of any model
@pytest.mark.parametrize("make", [classifier, model])
def test_keras_tuner_chooses_among_models(make, tmp_path):
    """It copies callbacks, saves weights and loads them into a model that was never called."""
    rates = []

    def build(hyperparameters):
        rates.append(hyperparameters.Choice("rate", [0.1, 0.2]))
        built = make()
        built.compile(keras.optimizers.SGD(rates[-1]), "sparse_categorical_crossentropy")
        return built

    x, y = arrays()
    tuner = keras_tuner.GridSearch(build, "val_loss", overwrite=True, directory=tmp_path)
    tuner.search(x, y, validation_data=(x, y), callbacks=[keras.callbacks.EarlyStopping()],
                 verbose=0)  # fmt: skip
    assert set(rates) == {0.1, 0.2}
    (best,) = tuner.get_best_models()
    score = tuner.oracle.get_best_trials()[0].score
    assert best.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(
        score, rel=1e-5
    )

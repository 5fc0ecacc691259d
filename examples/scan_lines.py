"""Your own time series, from arrays to a served model.

    python examples/scan_lines.py --output=DIR

A line camera passes over two photographs (they come with scikit-learn). Each line is a series of
640 steps with three colours; which photograph is it from? Nothing but Keras: `fit`, `evaluate`,
`save`, and an export that needs neither Keras nor aux_keras where it is used.
"""

import argparse
import pathlib

import keras
import numpy as np
import sklearn.datasets
import tensorflow as tf

import aux_keras
from aux_keras.serving.export import export_model


def scan_lines():
    """Training and test lines `(lines, 640, 3)` in [0, 1], and their labels.

    Neighbouring lines look alike: whole blocks of 20 lines are for testing, every fourth one.
    """
    images = sklearn.datasets.load_sample_images()
    names = [pathlib.Path(name).stem for name in images.filenames]
    x = np.concatenate(images.images).astype("float32") / 255
    y = np.repeat(np.arange(len(names)), [len(image) for image in images.images])
    test = np.concatenate([np.arange(len(image)) // 20 % 4 == 3 for image in images.images])
    return (x[~test], y[~test]), (x[test], y[test]), names


def main():
    """Trains, evaluates, saves, exports, and asks the exported model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="folder to write, which must not exist")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    output = pathlib.Path(arguments.output)
    if output.exists():
        parser.error(f"--output must not exist: {output}")
    output.mkdir(parents=True)

    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test), names = scan_lines()
    reconstruction = aux_keras.Reconstruction(
        [keras.layers.GRUCell(32), keras.layers.GRUCell(32)],
        num_anchors=2, segment_length=40, truncation=40, hidden_units=64, drop_rate=0.0,
    )  # fmt: skip
    model = aux_keras.AuxiliaryClassifier(
        classes=len(names), rnn=keras.layers.GRU(32), supervised_truncation=40,
        classifier_units=64, drop_rate=0.5, auxiliary=[reconstruction], sampling_decay_steps=100,
        preprocessing={"label_names": names},
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=arguments.epochs, validation_split=0.1, verbose=2)
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"Test accuracy: {accuracy:.3f}")
    model.save(output / "model.keras")
    export_model(model, output / "served")

    served = tf.saved_model.load(str(output / "served"))
    answer = served.serve(x_test, np.full(len(x_test), x_test.shape[1], "int32"))
    print(f"The same from the served model: {np.mean(answer['labels'] == y_test):.3f}")
    state = served.initial_state(1)["state"]
    for start in range(0, 640, 160):  # the same line as it comes in
        answer = served.stream(x_test[:1, start : start + 160], state)
        state = answer["state"]
        probability = float(tf.reduce_max(answer["probabilities"]))
        print(f"{start + 160} pixels: {names[int(answer['labels'][0])]}, {probability:.2f}")


if __name__ == "__main__":
    main()

"""Few labels, many sequences: what an LSTM gains from having read all of them without labels.

    python examples/few_labels.py

scikit-learn's 8x8 digits, a pixel at a time. Both networks are trained on the same few labels;
one of them learned before to reconstruct the pixels of all training images (self-pretraining).
"""

import argparse

import keras
import numpy as np
import sklearn.datasets

import aux_keras


def digits():
    """Training and test images as sequences `(images, 64, 1)` in [0, 1], and their labels."""
    data = sklearn.datasets.load_digits()
    x = (data.images.reshape(-1, 64, 1) / 16).astype("float32")
    test = np.arange(len(x)) % 5 == 0
    return (x[~test], data.target[~test]), (x[test], data.target[test])


def classifier(seed):
    """An r-LSTM: at a random anchor it reconstructs the pixels that it has read last."""
    keras.utils.set_random_seed(seed)
    reconstruction = aux_keras.Reconstruction(
        [keras.layers.LSTMCell(64), keras.layers.LSTMCell(64)], num_anchors=1, segment_length=48,
        truncation=48, hidden_units=64, drop_rate=0.0,
    )  # fmt: skip
    model = aux_keras.AuxiliaryClassifier(
        classes=10, rnn=keras.layers.LSTM(64), supervised_truncation=None, classifier_units=64,
        drop_rate=0.5, auxiliary=[reconstruction], auxiliary_weight=0.0, sampling_decay_steps=400,
        seed=seed,
    )  # fmt: skip
    # Keras's own epsilon, 1e-7 inside a root, damps the small gradients of a recurrent kernel.
    optimizer = keras.optimizers.RMSprop(epsilon=1e-10)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    """Prints the test accuracy with and without pretraining, for each seed and on average."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=100, help="labelled training images")
    parser.add_argument("--pretrain_epochs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    (x, y), test = digits()
    accuracies = []
    for seed in range(arguments.seeds):
        few = np.random.default_rng(seed).permutation(len(x))[: arguments.labels]
        row = []
        for pretrained in (True, False):
            model = classifier(seed)
            if pretrained:
                model.pretrain(x, epochs=arguments.pretrain_epochs, verbose=0)
            model.fit(x[few], y[few], batch_size=20, epochs=arguments.epochs, verbose=0)
            row.append(model.evaluate(*test, verbose=0, return_dict=True)["accuracy"])
        accuracies.append(row)
        print(f"seed {seed}: with pretraining {row[0]:.3f}, without {row[1]:.3f}", flush=True)
    means = np.mean(accuracies, axis=0)
    print(f"mean: with pretraining {means[0]:.3f}, without {means[1]:.3f}")


if __name__ == "__main__":
    main()

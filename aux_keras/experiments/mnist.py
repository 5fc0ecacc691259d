"""The paper's Table 2 in miniature: MNIST at 14 x 14 pixels, 196 steps, truncated to 20.

`python -m aux_keras.experiments.mnist --workdir=runs/mnist --output=results/mnist_small.csv`

30,000 images, of which the last 3,000 are the validation split, and networks of 64 units. Every
method trains for 12 epochs; where there is pretraining, it is half of them. `lstm_6` is the plain
LSTM with as many labelled steps as those.
"""

from aux_keras.experiments import table

SMALL = [
    "--task=mnist", "--image_size=14", "--train_examples=30000", "--validation_fraction=0.1",
    "--units=64", "--embedding_units=64", "--classifier_units=128", "--decoder_units=64",
    "--supervised_truncation=20", "--auxiliary_truncation=20", "--segment_length=60",
    "--halve_epochs=4", "--batch_size=128", "--learning_rate=0.002",
]  # fmt: skip
PHASES = ["--pretrain_epochs=6", "--epochs=6"]
RECONSTRUCTION = ["--placement=immediate", "--sampling_decay_steps=600"]
METHODS = {
    "lstm": ["--method=lstm", "--epochs=12", "--halve_epochs=8"],
    "lstm_6": ["--method=lstm", "--epochs=6"],
    "r": ["--method=r", *PHASES, *RECONSTRUCTION],
    "p": ["--method=p", *PHASES],
    "rp": ["--method=rp", *PHASES, *RECONSTRUCTION],
}

if __name__ == "__main__":
    flags = {method: [*SMALL, *own] for method, own in METHODS.items()}
    table.compare(__doc__.splitlines()[0], flags, seeds=3)

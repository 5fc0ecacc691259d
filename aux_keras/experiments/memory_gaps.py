"""Does the decoder need the state? Memory gaps of every loss after a short pretraining.

`python -m aux_keras.experiments.memory_gaps --workdir=runs/gaps --output=results/memory_gaps.csv
--flags manual_dir=CSV_DIR data_dir=TFDS_DIR`

300 steps without labels on four tasks. `r_before` is r-LSTM with the former defaults: segments
anywhere, gradients cut inside the decoder as often as in the RNN, and Keras's epsilon of RMSprop.
"""

import statistics

from aux_keras.experiments import runner, table

COMMON = [
    "--epochs=0", "--pretrain_steps=300", "--validation_fraction=0.1", "--test_examples=64",
    "--units=64", "--embedding_units=64", "--classifier_units=128", "--decoder_units=64",
    "--batch_size=64", "--learning_rate=0.003", "--sampling_decay_steps=150",
    "--placement=immediate",
]  # fmt: skip
TASKS = {
    "digits": ["--task=digits", "--segment_length=48", "--auxiliary_truncation=24"],
    "mnist": [
        "--task=mnist", "--image_size=14", "--train_examples=6000", "--segment_length=60",
        "--auxiliary_truncation=20",
    ],
    "cifar10": [
        "--task=cifar10", "--image_size=16", "--train_examples=6000", "--segment_length=60",
        "--auxiliary_truncation=20",
    ],
    "dbpedia": [
        "--task=dbpedia", "--use_titles=false", "--bucket_lengths=128,256",
        "--train_examples=6000", "--segment_length=10", "--num_anchors=6",
        "--auxiliary_truncation=20", "--drop_rate=0",
    ],
}  # fmt: skip
METHODS = ("r", "r_before", "p", "rp", "lm", "sa")


def flags(task, method):
    """Flags of one row."""
    if method != "r_before":
        return [*COMMON, *TASKS[task], f"--method={method}"]
    truncation = next(flag for flag in TASKS[task] if flag.startswith("--auxiliary_truncation"))
    before = ["--placement=anywhere", "--rmsprop_epsilon=1e-7"]
    cut = truncation.replace("auxiliary", "decoder")
    return [*COMMON, *TASKS[task], "--method=r", *before, cut]


def main():
    """Runs what is not run yet and writes a row for every loss."""
    given = table.arguments(__doc__.splitlines()[0], seeds=5)
    names = table.chosen({f"{t}_{m}": (t, m) for t in TASKS for m in METHODS}, given.methods)
    folders = [flag for flag in given.flags if not flag.startswith("--manual_dir")]
    runs = {
        f"{name}_{seed}": [
            *flags(*row), f"--seed={seed}", *(given.flags if row[0] == "dbpedia" else folders),
        ]
        for seed in range(given.seeds)
        for name, row in names.items()
    }  # fmt: skip
    results = runner.run_all(runs, given.workdir, given.jobs)
    rows = []
    for name, (task, method) in names.items():
        found = [results[f"{name}_{seed}"] for seed in range(given.seeds)]
        for loss, values in table.gaps(found).items():
            means, errors = zip(*values)
            row = {"task": task, "method": method, "loss": loss}
            row |= table.spread("memory_gap", means, digits=5)
            row["error_within_run"] = f"{statistics.mean(errors):.5f}"
            rows.append({**row, "flags": " ".join(flags(task, method))})
    table.write(given.output, rows)


if __name__ == "__main__":
    main()

"""Every table and figure of the paper, as rows of flags, at three scales.

full        the paper's own settings: one flagfile of `configs/` per row
quarter     a quarter of the sequence, half of the width, equal budgets; see `scales`
miniature   minutes: scikit-learn's digits, MNIST at 14 x 14, documents of 256 characters

Numbers beside the rows are the test accuracies, in %, that the paper reports.
"""

import functools

from aux_keras.experiments import gather, scales
from aux_keras.experiments.experiment import Experiment, Row

IMAGES = ("mnist", "pmnist", "cifar")
TABLE2 = {  # row: its flagfile, and the paper's accuracy on each task
    "lstm_full": ("lstm_full", 98.3, 89.4, 58.8),
    "lstm": ("lstm_300", 11.3, 88.8, 49.0),
    "r": ("r", 96.4, 92.8, 65.9),
    "p": ("p", 95.4, 92.5, 64.7),
    "r_full": ("r_full", 98.4, 95.2, 72.2),
    "p_full": ("p_full", 98.0, 92.8, 67.6),
    "irnn": ("irnn", 97.0, 82.0, None),
    "urnn": ("urnn", 95.1, 91.4, None),
}
TABLE3 = {
    "transformer": ("transformer", 98.9, 97.9, 62.2),
    "tdmca": ("tdmca", 99.3, 97.6, 73.0),
}
TABLE4 = {  # the paper has test errors: 13.64, 4.04, ...
    "lstm_full": 86.36,
    "lm": 95.96,
    "sa": 96.11,
    "r": 95.98,
    "r_20x15": 96.16,
    "p": 97.15,
}
TABLE5 = {  # n x l: with a supervised truncation of 1, and of 0
    "1x600": (46.1, 37.7),
    "10x60": (46.0, 40.6),
    "20x30": (48.0, 41.6),
    "50x12": (47.7, 41.0),
    "100x6": (47.2, 40.1),
    "200x3": (46.2, 37.9),
}
FIGURE3_SIZES = (40, 48, 56, 64, 80, 96, 112, 128)
FIGURE4_TRUNCATIONS = (300, 200, 100, 50, 1, 0)
FIGURE6 = (
    "no_joint_training", "no_pretraining", "no_scheduled_sampling", "immediate_past", "no_spill",
    "no_embedding", "no_reversal", "one_layer_decoder",
)  # fmt: skip


def file(name):
    """Flags of a flagfile of the package."""
    return [f"--flagfile={name}.cfg"]


def by_task(methods):
    """Rows of a table with a column for each image task."""
    return [
        Row({"task": task, "method": method}, file(f"{task}_{name}"), accuracy)
        for method, (name, *accuracies) in methods.items()
        for task, accuracy in zip(IMAGES, accuracies)
    ]


def figure4():
    """Rows of r- and p-LSTM by supervised truncation."""
    names = {300: "cifar_{}", **{k: f"figure4/cifar_{{}}_{k}" for k in FIGURE4_TRUNCATIONS[1:]}}
    return [
        Row({"method": method, "supervised_truncation": k}, file(name.format(method)))
        for k, name in names.items()
        for method in ("r", "p")
    ]


def table5():
    """Rows of r-LSTM by number and length of segments."""
    rows = []
    for segments, accuracies in TABLE5.items():
        names = [f"table5/cifar_r_{segments}{k}" for k in ("", "_0")]
        if segments == "1x600":
            names = ["figure4/cifar_r_1", "figure4/cifar_r_0"]
        for k, name, accuracy in zip((1, 0), names, accuracies):
            columns = {"segments": segments, "supervised_truncation": k}
            rows.append(Row(columns, file(name), accuracy))
    return rows


def methods(rows, common=()):
    """Rows of a table with a column `method`, from `{method: flags}`; own flags come last."""
    return [Row({"method": name}, [*common, *own]) for name, own in rows.items()]


FULL = {
    "table2": Experiment("Test accuracy on images, pixel by pixel", 1, by_task(TABLE2)),
    "table3": Experiment("Transformers on images, pixel by pixel", 1, by_task(TABLE3)),
    "table4": Experiment(
        "DBpedia, character by character", 1,
        [Row({"method": m}, file(f"dbpedia_{m}"), paper) for m, paper in TABLE4.items()],
    ),
    "table5": Experiment("n segments of l tokens on CIFAR10", 1, table5(), shared=True),
    "figure3": Experiment(
        "StanfordDogs by length of the sequence", 1,
        [
            Row({"method": m, "time": s * s}, [*file(f"dogs_{m}"), f"--image_size={s}"])
            for s in FIGURE3_SIZES
            for m in ("lstm_full", "r", "p", "r_20x30", "transformer")
        ],
    ),
    "figure4": Experiment("Shrinking truncation on CIFAR10", 1, figure4(), shared=True),
    "figure5": Experiment(
        "Accuracy by epoch on CIFAR10", 1,
        methods({m: file(f"figure5/cifar_{m}_curves") for m in ("lstm_full", "r", "p")}),
        gather=gather.curves,
    ),
    "figure6": Experiment(
        "What r-LSTM owes to its parts, on CIFAR10", 1,
        methods({"lstm": file("cifar_lstm_300"), "r": file("cifar_r")}
                | {name: file(f"figure6/cifar_r_{name}") for name in FIGURE6}),
    ),
}  # fmt: skip

HELD_OUT = "--validation_fraction=0.2"
# As many labelled epochs as the others have in both phases.
LSTM_LONG = [*file("digits_lstm"), HELD_OUT, "--epochs=130", "--halve_epochs=65"]
SHORT = [HELD_OUT, "--pretrain_epochs=20", "--epochs=20", "--halve_epochs=10"]
LSTM_SHORT = [*file("digits_lstm"), HELD_OUT, "--epochs=40", "--halve_epochs=20"]
TRUNCATED_8 = [HELD_OUT, "--supervised_truncation=8"]
ABLATIONS = [
    *file("digits_r"), *TRUNCATED_8, "--pretrain_epochs=30", "--epochs=30", "--halve_epochs=15",
    "--sampling_decay_steps=200",
]  # fmt: skip
WHOLE = ["--pretrain_epochs=0", "--epochs=60", "--halve_epochs=30"]
MNIST = [
    "--task=mnist", "--image_size=14", "--train_examples=30000", "--validation_fraction=0.1",
    "--units=64", "--embedding_units=64", "--classifier_units=128", "--supervised_truncation=20",
    "--halve_epochs=4", "--batch_size=128", "--learning_rate=0.002",
]  # fmt: skip
MNIST_PHASES = [
    "--pretrain_epochs=6", "--epochs=6", "--auxiliary_truncation=20", "--segment_length=60",
    "--decoder_units=64",
]  # fmt: skip
MNIST_R = ["--placement=immediate", "--sampling_decay_steps=600"]
DBPEDIA = [
    "--use_titles=false", "--bucket_lengths=128,256", "--validation_fraction=0.1", "--units=64",
    "--embedding_units=32", "--classifier_units=64", "--batch_size=64",
    "--learning_rate=0.002", "--halve_epochs=7", "--checkpoint_steps=1000",
    "--supervised_truncation=100",
]  # fmt: skip
DBPEDIA_PHASES = ["--pretrain_steps=3000", "--steps=3000"]
DBPEDIA_R = [
    "--decoder_units=64",
    "--placement=immediate", "--num_anchors=6", "--segment_length=10", "--auxiliary_truncation=20",
    "--drop_rate=0", "--sampling_decay_steps=600",
]  # fmt: skip
GAPS = [
    "--epochs=0", "--pretrain_steps=300", "--validation_fraction=0.1", "--test_examples=64",
    "--units=64", "--embedding_units=64", "--classifier_units=128", "--batch_size=64",
    "--learning_rate=0.003",
]  # fmt: skip
GAPS_TASKS = {  # task: its flags, segments, anchors, truncation
    "digits": (["--task=digits"], 48, 1, 24),
    "mnist": (["--task=mnist", "--image_size=14", "--train_examples=6000"], 60, 1, 20),
    "cifar10": (["--task=cifar10", "--image_size=16", "--train_examples=6000"], 60, 1, 20),
    "dbpedia": (
        ["--task=dbpedia", "--use_titles=false", "--bucket_lengths=128,256",
         "--train_examples=6000", "--drop_rate=0"], 10, 6, 20,
    ),
}  # fmt: skip


def memory_gap(task, method):
    """Flags of a row; `r_before` is r-LSTM with its former defaults.

    These were segments anywhere, gradients cut inside the decoder too, and Keras's epsilon.
    """
    own, length, anchors, truncation = GAPS_TASKS[task]
    name = "r" if method == "r_before" else method
    flags = [*GAPS, *own, f"--method={name}", f"--auxiliary_truncation={truncation}"]
    if name in ("r", "p", "rp"):
        flags += [f"--segment_length={length}", f"--num_anchors={anchors}", "--decoder_units=64"]
    if name in ("r", "rp"):
        flags += ["--sampling_decay_steps=150", "--placement=immediate"]
    if method == "r_before":
        flags += ["--placement=anywhere", f"--decoder_truncation={truncation}",
                  "--rmsprop_epsilon=1e-7"]  # fmt: skip
    return flags


MINIATURE = {
    "table2": Experiment(
        "MNIST at 14 x 14, truncation 20", 3,
        methods({
            "lstm": ["--method=lstm", "--epochs=12", "--halve_epochs=8"],
            "lstm_6": ["--method=lstm", "--epochs=6"],  # as many labelled epochs as the others
            "r": ["--method=r", *MNIST_PHASES, *MNIST_R],
            "p": ["--method=p", *MNIST_PHASES],
            "rp": ["--method=rp", *MNIST_PHASES, *MNIST_R],
        }, MNIST),
    ),
    "table3": Experiment(
        "Baselines, and r-LSTM with other cells, on digits; budgets differ", 3,
        methods({
            m: file(f"digits_{m}")
            for m in ("irnn", "urnn", "transformer", "tdmca", "r_irnn", "r_gru", "r_urnn")
        }),
    ),
    "table4": Experiment(
        "DBpedia, 256 characters", 3,
        methods({
            "lstm_full": [*file("dbpedia_lstm_full"), *DBPEDIA, "--steps=6000",
                          "--supervised_truncation=full"],
            "lstm_6000": [*file("dbpedia_lstm_full"), *DBPEDIA, "--steps=6000"],
            "lstm_3000": [*file("dbpedia_lstm_full"), *DBPEDIA, "--steps=3000"],
            "lm": [*file("dbpedia_lm"), *DBPEDIA, *DBPEDIA_PHASES, "--auxiliary_truncation=100"],
            "sa": [*file("dbpedia_sa"), *DBPEDIA, *DBPEDIA_PHASES, "--auxiliary_truncation=100"],
            "r": [*file("dbpedia_r"), *DBPEDIA, *DBPEDIA_PHASES, *DBPEDIA_R],
            "p": [*file("dbpedia_p"), *DBPEDIA, *DBPEDIA_PHASES, "--auxiliary_truncation=100",
                  "--segment_length=150", "--decoder_units=64"],
        }),
    ),
    "table5": Experiment(
        "n segments of l pixels on digits", 3,
        [
            Row({"segments": f"{n}x{length}", "supervised_truncation": k},
                [*file("digits_r"), HELD_OUT, f"--num_anchors={n}", f"--segment_length={length}",
                 f"--supervised_truncation={k}"])
            for n, length in ((1, 48), (4, 12), (8, 6), (16, 3))
            for k in (1, 0)
        ],
        shared=True,
    ),
    "figure3": Experiment(
        "Digits by length of the sequence", 3,
        [
            Row({"method": m, "time": s * s}, [*flags, f"--image_size={s}"])
            for s in (8, 12, 16, 24)
            for m, flags in {
                "lstm_full": [*LSTM_SHORT, "--supervised_truncation=full"],
                "r": [*file("digits_r"), *SHORT],
                "p": [*file("digits_p"), *SHORT],
            }.items()
        ],
    ),
    "figure4": Experiment(
        "Shrinking truncation on digits", 5,
        [
            Row({"method": m, "supervised_truncation": k},
                [*flags, f"--supervised_truncation={k}"])
            for m, flags in {
                "lstm": [*file("digits_lstm"), HELD_OUT],
                "lstm_long": LSTM_LONG,
                "r": [*file("digits_r"), HELD_OUT],
                "p": [*file("digits_p"), HELD_OUT],
                "rp": [*file("digits_rp"), HELD_OUT],
            }.items()
            for k in (0, 1, 8, 16)
        ],
        shared=True,
    ),
    "figure5": Experiment(
        "Accuracy by epoch on digits", 3,
        methods({
            "lstm_long": LSTM_LONG,
            "r": [*file("digits_r"), HELD_OUT],
            "p": [*file("digits_p"), HELD_OUT],
        }),
        gather=gather.curves,
    ),
    "figure6": Experiment(
        "What r-LSTM owes to its parts, on digits at truncation 8", 3,
        methods({
            "lstm": [*file("digits_lstm"), *TRUNCATED_8, "--epochs=60", "--halve_epochs=30"],
        }) + methods({
            "r": [],
            "past": ["--placement=past"],
            "past_or_spill": ["--placement=past_or_spill"],
            "curriculum": ["--placement=curriculum", "--placement_growth_steps=540"],
            "anywhere": ["--placement=anywhere"],
            "no_reversal": ["--reverse=false"],
            "one_layer_decoder": ["--decoder_layers=1"],
            "no_scheduled_sampling": ["--sampling_decay_steps=0"],
            "no_joint_training": ["--joint_training=false"],
            "no_pretraining": WHOLE,
            "no_embedding": ["--embedding_units=0"],
            "cut_decoder": ["--decoder_truncation=24"],
            "keras_epsilon": ["--rmsprop_epsilon=1e-7"],
        }, ABLATIONS),
    ),
    "memory_gaps": Experiment(
        "Does the decoder need the state? Every loss after 300 steps without labels", 5,
        [
            Row({"task": task, "method": m}, memory_gap(task, m))
            for task in GAPS_TASKS
            for m in ("r", "r_before", "p", "rp", "lm", "sa")
        ],
        gather=gather.memory_gaps,
    ),
}  # fmt: skip

SCALES = ("miniature", "quarter", "full")
NAMES = [*MINIATURE, "search"]


@functools.cache
def of_scale(scale):
    """The experiments of a scale, by name."""
    if scale == "quarter":
        return scales.quarter(FULL)
    return FULL if scale == "full" else MINIATURE

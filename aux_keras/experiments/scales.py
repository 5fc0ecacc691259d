"""The paper's rows at a quarter of its scale: flags only.

Images of 14 x 14 and 16 x 16 (196 and 256 steps instead of 784 and 1024), documents of 256
characters; segments and truncations a quarter as long; networks half as wide. Segments end at
their anchor, but in the rows about that. All rows of a table have as many training steps,
pretraining included; `lstm_labelled` and `lstm_full_labelled` have only as many labelled steps as
those with auxiliary losses, `rp` has both losses.
"""

import dataclasses

from aux_keras import config
from aux_keras.experiments.experiment import Experiment, Row, settings

PRETRAINING, LABELLED = 1500, 1500
LEARNING_RATE, SAMPLING_DECAY = 0.004, 600  # the same for all rows, by `search`
SIZES = {"mnist": 14, "pmnist": 14, "cifar10": 16}
LENGTHS = ("segment_length", "auxiliary_truncation", "supervised_truncation")
WIDTHS = ("units", "embedding_units", "classifier_units", "decoder_units", "intermediate_dim")
BLOCKS = ("attention_block", "attention_margin")
DEFAULTS = {field.name: field.default for field in dataclasses.fields(config.ExperimentConfig)}
NOT_HERE = ("irnn", "urnn", "immediate_past", "100x6", "200x3")  # or no token is left of a segment


def quarter(experiments):
    """The experiments of `catalogue.FULL` at a quarter of their scale, without Figure 3."""
    found = {}
    for name, experiment in experiments.items():
        if name == "figure3":
            continue
        rows = []
        for row in experiment.rows:
            if not set(row.columns.values()) & set(NOT_HERE):
                rows.append(quarter_of(row))
            if row.columns.get("method") in ("lstm", "lstm_full") and name != "figure5":
                rows.append(labelled(rows[-1]))
            if name == "table2" and row.columns["method"] == "r":
                rows.append(both(rows[-1]))
            if row.columns.get("method") == "no_spill":
                growth = [f"--placement_growth_steps={PRETRAINING}", "--placement=curriculum"]
                rows.append(Row({"method": "curriculum"}, [*rows[-1].flags, *growth]))
        title = f"{experiment.title}, at a quarter of the scale"
        found[name] = dataclasses.replace(experiment, title=title, rows=rows, seeds=3)
    rows = search(found["table2"].rows)
    found["search"] = Experiment("Learning rate and sampling decay on MNIST", 1, rows)
    return found


def search(rows):
    """Rates and decays of scheduled sampling to choose from, on MNIST's rows of Table 2.

    One seed, by the accuracy on the validation split.
    """
    rows = {row.columns["method"]: row for row in rows if row.columns["task"] == "mnist"}
    rates = (0.001, 0.002, 0.004, 0.008)
    tried = [("lstm", rate, None) for rate in rates] + [("r", rate, 600) for rate in rates]
    tried += [("r", 0.002, decay) for decay in (0, 200, 2000)]
    found = []
    for method, rate, decay in tried:
        columns = {"method": method, "learning_rate": rate, "sampling_decay_steps": decay}
        own = {"learning_rate": rate, "test_examples": 1}
        if method == "r":
            own["sampling_decay_steps"] = decay
        found.append(Row(columns, [*rows[method].flags, *as_flags(own)]))
    return found


def quarter_of(row):
    """A row at a quarter of its scale."""
    given = settings(row.flags)
    value, unread = DEFAULTS | given, config.unread(given["method"])
    read = [name for name in LENGTHS + WIDTHS + BLOCKS if name not in unread]
    small = {name: shrunk(name, value[name]) for name in read}
    if value["task"] == "dbpedia":
        small["bucket_lengths"] = "128,256"
    else:
        small["image_size"] = SIZES[value["task"]]
    small |= {"validation_fraction": 0.1, "validate_on_test": "false"}
    columns = dict(row.columns)
    if "supervised_truncation" in columns:
        columns["supervised_truncation"] = small["supervised_truncation"]
    if "segments" in columns:
        columns["segments"] = f"{value['num_anchors']}x{small['segment_length']}"
    return Row(columns, [*row.flags, *as_flags(small), *budget(given)], row.paper)


def shrunk(name, value):
    """A quarter of a length, at least one step; a half of a width."""
    if value == config.FULL or int(value) == 0:
        return value
    return max(1, int(value) // (4 if name in LENGTHS + BLOCKS else 2))


def budget(given):
    """Flags of the steps and rates of a row, from the flags of its flagfiles."""
    if given["method"] in ("transformer", "tdmca"):
        return as_flags({"steps": PRETRAINING + LABELLED, "warmup_steps": 500})
    alone = given["method"] == "lstm" or given.get("pretrain_epochs") == "0"
    steps = {"steps": LABELLED, "halve_epochs": 2}
    if alone:
        steps = {"steps": PRETRAINING + LABELLED, "halve_epochs": 4}
    if given["method"] != "lstm":
        steps["pretrain_steps"] = 0 if alone else PRETRAINING
    if given["method"] == "r":
        steps["placement"] = given.get("placement", "immediate")
        if given["sampling_decay_steps"] != "0":
            steps["sampling_decay_steps"] = SAMPLING_DECAY
    return as_flags({**steps, "learning_rate": LEARNING_RATE})


def labelled(row):
    """An LSTM with as many labelled steps as the others."""
    columns = {**row.columns, "method": f"{row.columns['method']}_labelled"}
    return Row(columns, [*row.flags, f"--steps={LABELLED}", "--halve_epochs=2"])


def both(row):
    """r-LSTM with p's loss beside its own."""
    return Row({**row.columns, "method": "rp"}, [*row.flags, "--method=rp"])


def as_flags(values):
    """Flags of a dict."""
    return [f"--{name}={value}" for name, value in values.items()]

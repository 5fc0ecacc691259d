"""The paper's Figure 6 in miniature: what r-LSTM owes to its parts, on digits at truncation 8.

`python -m aux_keras.experiments.ablations --workdir=runs/ablations --output=results/ablations.csv`

30 epochs of pretraining and 30 of training; `lstm` trains for 60, `no_pretraining` for 60 with the
auxiliary loss. The last fifth of the training images is the validation split.
"""

from aux_keras.experiments import table

SMALL = [
    "--flagfile=configs/digits_r.cfg", "--validation_fraction=0.2", "--supervised_truncation=8",
    "--pretrain_epochs=30", "--epochs=30", "--halve_epochs=15", "--sampling_decay_steps=200",
]  # fmt: skip
WHOLE = ["--pretrain_epochs=0", "--epochs=60", "--halve_epochs=30"]
METHODS = {
    "lstm": ["--method=lstm", *WHOLE],
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
}

if __name__ == "__main__":
    flags = {method: [*SMALL, *own] for method, own in METHODS.items()}
    table.compare(__doc__.splitlines()[0], flags, seeds=3)

"""The paper's Table 4 in miniature: reading DBpedia character by character.

`python -m aux_keras.experiments.dbpedia --workdir=runs/dbpedia --output=results/dbpedia_small.csv
--flags manual_dir=CSV_DIR data_dir=TFDS_DIR`

Contents without titles, cut to 256 characters; networks of 64 units; back-propagation
through 100 steps, as in the paper. The last tenth of the training documents is the validation
split. Every method has 3000 labelled steps, after 3000 without labels where there is pretraining;
`lstm_6000` and `lstm_full` have as many labelled steps as the others have in all.
"""

from aux_keras.experiments import table

SMALL = [
    "--use_titles=false", "--bucket_lengths=128,256", "--validation_fraction=0.1", "--units=64",
    "--embedding_units=32", "--classifier_units=64", "--decoder_units=64", "--batch_size=64",
    "--learning_rate=0.002", "--halve_epochs=7", "--checkpoint_steps=1000",
]  # fmt: skip
SUPERVISED = "--supervised_truncation=100"
LABELLED, PRETRAINING = 3000, 3000
PHASES = [SUPERVISED, f"--pretrain_steps={PRETRAINING}", f"--steps={LABELLED}"]
LSTM = "--flagfile=configs/dbpedia_lstm_full.cfg"
RECONSTRUCTION = [
    "--placement=immediate", "--num_anchors=6", "--segment_length=10", "--auxiliary_truncation=20",
    "--drop_rate=0", "--sampling_decay_steps=600",
]  # fmt: skip
METHODS = {
    "lstm_full": [LSTM, f"--steps={LABELLED + PRETRAINING}"],
    "lstm_6000": [LSTM, SUPERVISED, f"--steps={LABELLED + PRETRAINING}"],
    "lstm_3000": [LSTM, SUPERVISED, f"--steps={LABELLED}"],
    "lm": ["--flagfile=configs/dbpedia_lm.cfg", *PHASES, "--auxiliary_truncation=100"],
    "sa": ["--flagfile=configs/dbpedia_sa.cfg", *PHASES, "--auxiliary_truncation=100"],
    "r": ["--flagfile=configs/dbpedia_r.cfg", *PHASES, *RECONSTRUCTION],
    "p": [
        "--flagfile=configs/dbpedia_p.cfg", *PHASES, "--auxiliary_truncation=100",
        "--segment_length=150",
    ],
}  # fmt: skip

if __name__ == "__main__":
    flags = {method: [*own, *SMALL] for method, own in METHODS.items()}
    table.compare(__doc__.splitlines()[0], flags, seeds=3)

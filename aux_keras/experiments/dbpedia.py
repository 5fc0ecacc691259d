"""The paper's Table 4 in miniature: reading DBpedia character by character.

`python -m aux_keras.experiments.dbpedia --workdir=runs/dbpedia --output=results/dbpedia_small.csv
--flags manual_dir=CSV_DIR data_dir=TFDS_DIR`

Contents without titles, cut to 256 characters; networks of 64 units; back-propagation
through 100 steps, as in the paper. Every method trains for the same number of steps;
where there is pretraining, it is half of them.
"""

from aux_keras.experiments import table

SMALL = [
    "--use_titles=false", "--bucket_lengths=128,256", "--units=64", "--embedding_units=32",
    "--classifier_units=64", "--decoder_units=64", "--batch_size=64", "--learning_rate=0.002",
    "--halve_epochs=7", "--checkpoint_steps=1000",
]  # fmt: skip
TRUNCATED = ["--supervised_truncation=100", "--auxiliary_truncation=100"]
ALL_STEPS, PRETRAINING = 6000, 3000
PHASES = [f"--pretrain_steps={PRETRAINING}", f"--steps={ALL_STEPS - PRETRAINING}"]
SEGMENTS = ["--segment_length=150", "--sampling_decay_steps=3000"]
METHODS = {
    "lstm_full": ["--flagfile=configs/dbpedia_lstm_full.cfg", f"--steps={ALL_STEPS}"],
    "lstm_truncated": [
        "--flagfile=configs/dbpedia_lstm_full.cfg", f"--steps={ALL_STEPS}", TRUNCATED[0],
    ],
    "lm": ["--flagfile=configs/dbpedia_lm.cfg", *TRUNCATED, *PHASES],
    "sa": ["--flagfile=configs/dbpedia_sa.cfg", *TRUNCATED, *PHASES],
    "r": ["--flagfile=configs/dbpedia_r.cfg", *TRUNCATED, *PHASES, *SEGMENTS],
    "p": ["--flagfile=configs/dbpedia_p.cfg", *TRUNCATED, *PHASES, *SEGMENTS],
}  # fmt: skip

if __name__ == "__main__":
    flags = {method: [*own, *SMALL] for method, own in METHODS.items()}
    table.compare(__doc__.splitlines()[0], flags, seeds=3)

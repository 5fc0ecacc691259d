"""The paper's Figure 4 in miniature: shrinking supervised truncation, on digits.

`python -m aux_keras.experiments.digits --workdir=runs/figure4 --output=results/digits.csv`

All methods train for the same number of supervised epochs, as in the paper; the
pretraining of a method is run once per seed and shared by the truncations. `lstm_long`
is the plain LSTM trained for as many epochs as the others pretrain and train together.
The last fifth of the training images is the validation split, by which choices are made.
"""

from aux_keras.experiments import runner, table

HELD_OUT = "--validation_fraction=0.2"
METHODS = {
    "lstm": ["--flagfile=configs/digits_lstm.cfg", HELD_OUT],
    "lstm_long": [
        "--flagfile=configs/digits_lstm.cfg", HELD_OUT, "--epochs=130", "--halve_epochs=65",
    ],
    "r": ["--flagfile=configs/digits_r.cfg", HELD_OUT],
    "p": ["--flagfile=configs/digits_p.cfg", HELD_OUT],
    "rp": ["--flagfile=configs/digits_rp.cfg", HELD_OUT],
}  # fmt: skip
PRETRAINED = ("r", "p", "rp")
TRUNCATIONS = (0, 1, 8, 16)


def main():
    """Runs what is not run yet and writes mean and standard deviation over seeds."""
    arguments = table.arguments(__doc__.splitlines()[0], seeds=5)
    seeds, workdir = range(arguments.seeds), arguments.workdir
    methods = table.chosen(METHODS, arguments.methods)
    pretraining = {
        f"{method}_pretraining_{seed}": [*METHODS[method], "--epochs=0", f"--seed={seed}"]
        for seed in seeds
        for method in methods
        if method in PRETRAINED
    }
    results = runner.run_all(pretraining, workdir, arguments.jobs, arguments.flags)
    cells = [(truncation, method) for truncation in TRUNCATIONS for method in methods]
    runs = {
        f"{method}_{truncation}_{seed}": flags(method, truncation, seed, workdir)
        for seed in seeds
        for truncation, method in cells
    }
    results |= runner.run_all(runs, workdir, arguments.jobs, arguments.flags)
    rows = []
    for truncation, method in cells:
        found = [results[f"{method}_{truncation}_{seed}"] for seed in seeds]
        before = [results.get(f"{method}_pretraining_{seed}") for seed in seeds]
        row = {"method": method, "supervised_truncation": truncation, **table.summary(found)}
        row |= table.gap_columns([result for result in before if result])
        rows.append({**row, "flags": " ".join(METHODS[method])})
    table.write(arguments.output, rows)


def flags(method, truncation, seed, workdir):
    """Flags of one run of the table."""
    given = [*METHODS[method], f"--supervised_truncation={truncation}", f"--seed={seed}"]
    if method in PRETRAINED:
        given.append(f"--pretrained={workdir / f'{method}_pretraining_{seed}'}")
        given.append("--memory_gap=false")  # that of the pretraining is in the table
    return given


if __name__ == "__main__":
    main()

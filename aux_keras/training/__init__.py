"""The training loop of a run, its callbacks and its folder."""

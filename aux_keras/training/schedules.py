"""Optimizers and learning rates of the two phases (section 4.1)."""

import keras


def halving(learning_rate, every_steps):
    """A rate halved every `every_steps` steps: `rate * 0.5 ** floor(step / every_steps)`."""
    return keras.optimizers.schedules.ExponentialDecay(
        learning_rate, decay_steps=every_steps, decay_rate=0.5, staircase=True
    )


def rmsprop(learning_rate, every_steps, clip_norm=None):
    """The paper's optimizer: RMSprop with a halving rate, without clipping by default."""
    return keras.optimizers.RMSprop(halving(learning_rate, every_steps), global_clipnorm=clip_norm)

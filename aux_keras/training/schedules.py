"""Optimizers and learning rates: of the two phases (section 4.1), and of the baselines."""

import keras


def halving(learning_rate, every_steps):
    """A rate halved every `every_steps` steps: `rate * 0.5 ** floor(step / every_steps)`."""
    return keras.optimizers.schedules.ExponentialDecay(
        learning_rate, decay_steps=every_steps, decay_rate=0.5, staircase=True
    )


@keras.saving.register_keras_serializable("aux_keras")
class WarmupInverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """`rate * min((step + 1) / warmup_steps, sqrt(warmup_steps / (step + 1)))`.

    Args:
        learning_rate: float, the highest rate.
        warmup_steps: int, steps until it is reached.

    Reference: Vaswani et al. 2017, section 5.3.
    """

    def __init__(self, learning_rate, warmup_steps):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        done = (keras.ops.cast(step, "float32") + 1) / self.warmup_steps
        return self.learning_rate * keras.ops.minimum(done, done**-0.5)

    def get_config(self):
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}


def make_optimizer(
    name, learning_rate, halve_steps, warmup_steps=0, clip_norm=None, rmsprop_epsilon=1e-10
):
    """An optimizer with its schedule.

    Args:
        name: `"rmsprop"`, the paper's; `"sgd"`, iRNN's; `"adam"` with the decay rates
            of the Transformers (0.9 and 0.997).
        learning_rate: float, of the first step, or at the end of the warm-up.
        halve_steps: int, steps between halvings, without warm-up.
        warmup_steps: int; 0 for none.
        clip_norm: float, greatest global norm of the gradient, or None.
        rmsprop_epsilon: float, added to the mean square of RMSprop inside the root.
    """
    rate = halving(learning_rate, halve_steps)
    if warmup_steps:
        rate = WarmupInverseSquareRoot(learning_rate, warmup_steps)
    makers = {
        "rmsprop": lambda *a, **k: keras.optimizers.RMSprop(*a, epsilon=rmsprop_epsilon, **k),
        "sgd": keras.optimizers.SGD,
        "adam": lambda *a, **k: keras.optimizers.Adam(
            *a, beta_1=0.9, beta_2=0.997, epsilon=1e-9, **k
        ),
    }
    return makers[name](rate, global_clipnorm=clip_norm)

"""Whether an auxiliary loss drowns the supervised one."""

import warnings

import keras

FACTOR = 100
ADVICE = {  # by `target`
    "inputs": "Scale the tokens to a variance of about 1; where a layer of the model does so, "
    "reconstruct what the recurrent layer reads, `target='features'`",
    "features": "Scale what the recurrent layer reads to a variance of about 1",
}


class LossScale(keras.callbacks.Callback):
    """Warns if the weighted auxiliary loss starts above `FACTOR` times the supervised one.

    An auxiliary loss of real tokens has their units, squared.
    """

    async_safe = True  # it reads the logs alone: no step waits for it

    def on_train_begin(self, logs=None):
        self.seen = False

    def on_train_batch_end(self, batch, logs=None):
        if self.seen:
            return
        self.seen = True
        logs = logs or {}  # a user's `train_step` may log others
        auxiliary = self.model.auxiliary_weight * logs.get("auxiliary_loss", 0)
        if auxiliary > FACTOR * logs.get("supervised_loss", 0) > 0:
            warnings.warn(
                f"The weighted auxiliary loss, {auxiliary:.3g}, is more than {FACTOR} times the "
                f"supervised loss, {logs['supervised_loss']:.3g}, and will decide the gradient. "
                f"{ADVICE[self.model.target]}, or lower `auxiliary_weight`",
                stacklevel=1,  # Keras calls: no line of the user's is known
            )


def with_loss_scale(callbacks):
    """The callbacks of `fit` and this one; a `CallbackList`, which Keras takes as it is, alone."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    return [*keras.tree.flatten(callbacks or []), LossScale()]

"""What a model logs: losses by name, metrics, memory gaps."""

import keras
import tensorflow as tf

from aux_keras.models import input_checks
from aux_keras.models.memory_gap import MemoryGap
from aux_keras.models.replicas import worker_count


def trackers(names, memory_gap):
    """Metrics of a model with auxiliary losses of these names: means by name; memory gaps."""
    logged = [f"{name}_loss" for name in names] if len(names) > 1 else []
    logged += ["supervised_loss", *(["auxiliary_loss"] if names else [])]
    means = {name: keras.metrics.Mean(name=name) for name in logged}
    return means, [MemoryGap(f"{name}_memory_gap") for name in names if memory_gap]


def track(model, data, y_pred, named, gaps=()):
    """Updates every metric of an `AuxiliaryModel` and returns their results by name.

    Args:
        model: the model.
        data: `(x, y, sample_weight)` of a batch.
        y_pred: what it predicts.
        named: dict of losses, weighted by batch size.
        gaps: `sequence_gaps` per auxiliary loss.
    """
    for name, tracker in {"loss": model._loss_tracker, **model.trackers}.items():
        if name in named:
            tracker.update_state(named[name], sample_weight=input_checks.batch_size(data[0]))
    results = dict(model.compute_metrics(data[0], data[1], y_pred, data[2]))
    for tracker, sums in zip(model.gap_trackers, gaps):
        tracker.update_state(*sums)
        results.update(tracker.result())
    if worker_count(model.distribute_strategy) == 1:
        return results
    # Keras takes the mean of what workers return over its first axis, which scalars do not have.
    return {name: tf.reshape(value, [1]) for name, value in results.items()}


def of_all_replicas(model, logs):
    """As `keras.Model._get_metrics_result_or_logs`: results over all replicas.

    Keras returns the logs of the last step where they hold more than `get_metrics_result`, as
    ours do with memory gaps; with replicas these are means of what each replica has counted.
    """
    results = model.total_results()
    return {name: results.get(name, value) for name, value in logs.items()}


def total_results(model):
    """A function that returns the results of all metrics, memory gaps too, over all replicas."""

    def compute():
        results = dict(model.get_metrics_result())
        for tracker in model.gap_trackers:
            results.update(tracker.result())
        return results

    if worker_count(model.distribute_strategy) == 1:
        return compute
    compiled = tf.function(compute, autograph=False)  # else a tenth of a second for each variable
    return lambda: compiled()

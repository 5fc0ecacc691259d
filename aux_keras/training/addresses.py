"""The workers of a run on several machines, by the environment; without TensorFlow."""

import json

HELP = (
    "$TF_CONFIG must be JSON as TensorFlow documents it, such as "
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def addresses(environment):
    """Addresses of all workers, the chief first, and which of them this process is.

    Args:
        environment: dict, of which `TF_CONFIG` is read, or SLURM's variables.

    Returns:
        `(addresses, index)`: list of `"host:port"`, and int. Of SLURM the addresses are left to
        TensorFlow, and the tasks are named by their numbers.

    Raises:
        ValueError: if there is neither, or `TF_CONFIG` is not as it should be.
    """
    text = environment.get("TF_CONFIG")
    if text is None and "SLURM_PROCID" in environment:
        count = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
        return [f"SLURM task {i}" for i in range(count)], int(environment["SLURM_PROCID"])
    if text is None:
        raise ValueError(
            f"`strategy` must be one or mirrored where nothing names the workers. {HELP}. "
            "Received: strategy=multi_worker"
        )
    try:
        config = json.loads(text)
        jobs = {name: list(config["cluster"].get(name, [])) for name in ("chief", "worker")}
        kind, index = str(config["task"]["type"]), int(config["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{HELP}. Received: {text!r}") from error
    everyone = jobs["chief"] + jobs["worker"]
    if kind not in jobs or not 0 <= index < len(jobs[kind]):
        raise ValueError(f"{HELP}, with a task that is in the cluster. Received: {text!r}")
    if not all(_is_address(name) for name in everyone) or len(set(everyone)) < len(everyone):
        raise ValueError(f"{HELP}, with a host:port of its own for each. Received: {text!r}")
    return everyone, index + (len(jobs["chief"]) if kind == "worker" else 0)


def _is_address(name):
    return isinstance(name, str) and name.rpartition(":")[2].isdecimal() and ":" in name

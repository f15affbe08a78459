"""Write `scripts/network_costs.json`, from which `train_all.py --list` estimates costs without building networks.

Needed after a change of a network or of an entry's arguments; `tests/experiments/test_costs.py` says when.
"""

import argparse
import json
import sys
from pathlib import Path

from hw2 import backend
from hw2.experiments import EXPERIMENTS
from hw2.experiments.costs import image_sizes, network_key
from hw2.experiments.resolve import resolve
from hw2.experiments.schema import Experiment
from hw2.runs import BUDGETS_WITH_RESULTS

TABLE = Path(__file__).with_name("network_costs.json")


def networks():
    """Return `{key: (configuration, image size)}` of every network that the table of experiments builds."""
    configurations = [
        resolve(name, budget)
        for budget in BUDGETS_WITH_RESULTS  # the smoke budget takes minutes, and needs no estimate
        for name, entry in EXPERIMENTS.items()
        if isinstance(entry, Experiment)
    ]
    return {network_key(config, size): (config, size) for config in configurations for size in image_sizes(config)}


def count():
    """Return `{key: {stage: [multiply_adds, values]}}` of all `networks`, see `hw2.models.cost.cost_of_stages`."""
    from hw2.models.cost import cost_of_stages
    from hw2.models.registry import NETWORKS, build_model

    return {
        key: cost_of_stages(build_model(config, size), NETWORKS[config["model"]].stages)
        for key, (config, size) in networks().items()
    }


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # no arguments: --help explains, anything else is refused
    if refused := backend.refusal():
        sys.exit(refused)
    TABLE.write_text(json.dumps(count(), indent=1) + "\n")

"""The table of experiments: one entry each, whose name is its folder under `results/<budget>/`.

A comment above an entry or a group of entries says why it is there and with what it is compared. The results are in the
folders of the runs, and the trials on validation images that led to an entry are in `results/trials.csv`. Nothing here
imports Keras.
"""

from hw2.experiments import ensembles, scratch, segmentation, vgg16
from hw2.experiments.schema import check, experiment_of, joined

EXPERIMENTS = joined(vgg16.EXPERIMENTS, scratch.EXPERIMENTS, ensembles.EXPERIMENTS, segmentation.EXPERIMENTS)
check(EXPERIMENTS)


def title_of(run):
    """Return the title of a run's experiment; that of a later seed names the seed.

    The words of the name of the run stand in for an experiment that the table does not hold.
    """
    name = experiment_of(run)
    title = EXPERIMENTS[name].title if name in EXPERIMENTS else name.replace("_", " ")
    return title + run.removeprefix(name).replace("-seed", ", seed ")

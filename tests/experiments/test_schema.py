import dataclasses
from pathlib import Path

import pytest

from hw2.errors import EntryError
from hw2.experiments import EXPERIMENTS, title_of
from hw2.experiments.resolve import resolve
from hw2.experiments.schema import (
    Baselines,
    ByBudget,
    Ensemble,
    Experiment,
    Phase,
    check,
    experiment_of,
    joined,
    pick,
    run_name,
    training_command,
)
from hw2.models.registry import NETWORKS

PHASE = Phase(epochs=1, learning_rate=1e-3)
CLASSIFIER = Experiment(title="", question="", model="vgg16_classifier", model_arguments={"head": "dense"}, phases=())
SEGMENTER = dataclasses.replace(CLASSIFIER, model="seg_unet", model_arguments={}, num_classes=2, task="segmentation")


def trained(entry, **changes):
    """Return the entry with two phases, of which the second one differs from the defaults in `changes`."""
    return dataclasses.replace(entry, phases=(PHASE, dataclasses.replace(PHASE, **changes)))


RIGHT = {
    "classifier": trained(CLASSIFIER, trainable="block3", augment=("flip", "shift"), mix=("cutmix",), optimizer="sgd"),
    "features": dataclasses.replace(trained(CLASSIFIER), weights="imagenet", extras=("grad_cam",), seeds=2),
    "longer": dataclasses.replace(trained(CLASSIFIER, schedule="plateau"), weights="features"),
    "of_ten_classes": dataclasses.replace(trained(CLASSIFIER), num_classes=10),
    "of_a_teacher": dataclasses.replace(trained(CLASSIFIER), teachers=("features-seed1",), teacher_share=0.5),
    "segmenter": trained(SEGMENTER, trainable="decoder", joint=("joint_flip",), augment=("jitter",), loss="both"),
    "baselines": Baselines(title="", question=""),
    "ensemble": Ensemble(title="", question="", members=("classifier", "features-seed1")),
}

# each: an entry with one wrong value, the value, and some of the values that may stand there
TYPOS = {
    "task": (
        dataclasses.replace(CLASSIFIER, task="clasification"),
        "clasification",
        ["classification", "segmentation"],
    ),
    "model": (dataclasses.replace(CLASSIFIER, model="vgg19"), "vgg19", ["vgg16_classifier", "scratch_classifier"]),
    "model of the task": (
        dataclasses.replace(SEGMENTER, model="vgg16_classifier"),
        "vgg16_classifier",
        ["seg_book", "seg_unet_mobilenetv2"],
    ),
    "model argument": (
        dataclasses.replace(CLASSIFIER, model_arguments={"heads": 1}),
        "heads",
        ["head", "image_size", "dropout", "width"],
    ),
    "weights": (dataclasses.replace(CLASSIFIER, weights="imagnet"), "imagnet", ["imagenet", "features"]),
    "weights of the network": (dataclasses.replace(SEGMENTER, weights="imagenet"), "imagenet", ["segmenter"]),
    "weights of another network": (dataclasses.replace(SEGMENTER, weights="features"), "features", ["segmenter"]),
    "weights of too few seeds": (
        dataclasses.replace(CLASSIFIER, weights="classifier", seeds=2),
        "classifier",
        ["imagenet", "features"],
    ),
    "extra": (dataclasses.replace(CLASSIFIER, extras=("robust",)), "robust", ["robustness", "grad_cam"]),
    "extra of the task": (
        dataclasses.replace(SEGMENTER, extras=("grad_cam",)),
        "grad_cam",
        ["test_time_augmentation"],
    ),
    "optimizer": (trained(CLASSIFIER, optimizer="adam"), "adam", ["adamw", "sgd"]),
    "schedule": (trained(CLASSIFIER, schedule="cosin"), "cosin", ["cosine", "constant", "plateau"]),
    "sampling": (trained(SEGMENTER, sampling="rare"), "rare", ["uniform", "repeat_factor"]),
    "sampling of the task": (trained(CLASSIFIER, sampling="repeat_factor"), "repeat_factor", ["uniform"]),
    "teacher": (dataclasses.replace(CLASSIFIER, teachers=("nobody",)), "nobody", ["classifier", "features-seed1"]),
    "teacher of another task": (dataclasses.replace(CLASSIFIER, teachers=("segmenter",)), "segmenter", ["features"]),
    "loss": (trained(SEGMENTER, loss="dise"), "dise", ["cross_entropy", "dice", "both"]),
    "loss of the task": (trained(CLASSIFIER, loss="dice"), "dice", ["cross_entropy"]),
    "trainable": (trained(CLASSIFIER, trainable="block6"), "block6", ["", "block1", "block5", "head"]),
    "trainable of the network": (trained(SEGMENTER, trainable="block1"), "block1", ["", "encoder1", "decoder"]),
    "augment": (trained(CLASSIFIER, augment=("flip", "shfit")), "shfit", ["flip", "shift", "erase", "jitter"]),
    "augment on the cpu": (trained(CLASSIFIER, augment=ByBudget(cpu=("flop",), gpu=())), "flop", ["flip"]),
    "augment on the gpu": (trained(CLASSIFIER, augment=ByBudget(cpu=(), gpu=("flop",))), "flop", ["flip"]),
    "joint": (trained(SEGMENTER, joint=("flip",)), "flip", ["joint_flip", "joint_scale_crop"]),
    "mix": (trained(CLASSIFIER, mix=("cutmixup",)), "cutmixup", ["mixup", "cutmix"]),
    "trainable on the cpu": (trained(CLASSIFIER, trainable=ByBudget(cpu="blok4", gpu="")), "blok4", ["block4"]),
    "trainable on the gpu": (trained(CLASSIFIER, trainable=ByBudget(cpu="block4", gpu="blok")), "blok", ["block4"]),
    "member": (Ensemble(title="", question="", members=("features", "nobody")), "nobody", ["classifier", "features"]),
    "member's seed": (
        Ensemble(title="", question="", members=("features", "features-seed2")),
        "features-seed2",
        ["features-seed1"],
    ),
    "member of another task": (Ensemble(title="", question="", members=("segmenter",)), "segmenter", ["features"]),
    "member of fewer classes": (
        Ensemble(title="", question="", members=("features", "of_ten_classes")),
        "of_ten_classes",
        ["classifier", "features-seed1"],
    ),
    "teacher of fewer classes": (
        dataclasses.replace(CLASSIFIER, teachers=("of_ten_classes",), teacher_share=0.5),
        "of_ten_classes",
        ["classifier", "features-seed1"],
    ),
    "teacher of itself": (
        dataclasses.replace(CLASSIFIER, teachers=("an_entry",), teacher_share=0.5),
        "an_entry",
        ["classifier", "of_a_teacher"],
    ),
}


def test_right_entries_pass():
    check(RIGHT)


@pytest.mark.parametrize("kind", TYPOS)
def test_a_typo_is_named_with_its_entry_and_the_values_allowed(kind):
    entry, value, allowed = TYPOS[kind]
    with pytest.raises(EntryError) as caught:
        check(RIGHT | {"an_entry": entry})
    message, _, choices = str(caught.value).partition("Possible values: ")
    assert "'an_entry'" in message and repr(value) in message and kind.split()[0].removesuffix("'s") in message
    assert set(map(repr, allowed)) <= set(choices.removesuffix(".").split(", "))
    assert repr(value) not in choices.removesuffix(".").split(", ")


@pytest.mark.parametrize(
    "entry, field",
    [
        (trained(CLASSIFIER, joint=("joint_flip",)), "joint"),
        (trained(SEGMENTER, mix=("cutmix",)), "mix"),
        (trained(SEGMENTER, mirrored=True), "mirrored"),
        (trained(SEGMENTER, label_smoothing=0.1), "label_smoothing"),
        (trained(SEGMENTER, image_size=24), "image_size"),
        (trained(CLASSIFIER, schedule="plateau", warmup=0.1), "warm-up"),
        (trained(CLASSIFIER, augment="flip"), r"needs a comma: \('flip',\)"),
        (dataclasses.replace(CLASSIFIER, phases=PHASE), "phases.*needs a comma|phases of the entry 'an_entry'"),
        (trained(CLASSIFIER, epochs="3"), "epochs = '3'"),
        (trained(CLASSIFIER, epochs=ByBudget(cpu=1, gpu=0)), "epochs = 0"),
        (trained(CLASSIFIER, batch_size=0), "batch_size = 0"),
        (trained(CLASSIFIER, patience=0), "patience = 0"),
        (trained(CLASSIFIER, learning_rate=-1.0), "learning_rate = -1.0"),
        (trained(CLASSIFIER, learning_rate=float("nan")), "learning_rate = nan"),
        (trained(CLASSIFIER, label_smoothing=5), "label_smoothing = 5, which is no number from 0 to 1"),
        (trained(CLASSIFIER, weight_decay=-1), "weight_decay = -1, which is no number from 0"),
        (trained(CLASSIFIER, weight_decay=float("inf")), "weight_decay = inf"),
        (trained(CLASSIFIER, warmup=3), "warmup = 3"),
        (trained(CLASSIFIER, mix_probability="often"), "mix_probability = 'often'"),
        (dataclasses.replace(CLASSIFIER, teacher_share=2), "teacher_share = 2"),
        (dataclasses.replace(trained(CLASSIFIER), teacher_share=0.7), r"teachers = \(\) and teacher_share = 0.7; one"),
        (dataclasses.replace(CLASSIFIER, num_classes=200), "num_classes = 200; it takes 2 to 100"),
        (dataclasses.replace(SEGMENTER, num_classes=20), r"num_classes 20. Possible values: 2, 21"),
        (dataclasses.replace(CLASSIFIER, seeds=0), "seeds = 0"),
        (Baselines(title="", question="", seeds="2"), "seeds = '2'"),
        (dataclasses.replace(CLASSIFIER, extras="robustness"), r"extras = 'robustness'. One alone needs a comma"),
        (Ensemble(title="", question="", members="classifier"), r"members.*needs a comma: \('classifier',\)"),
    ],
)
def test_a_field_that_cannot_act_is_refused(entry, field):
    with pytest.raises(EntryError, match=field) as caught:
        check({"an_entry": entry})
    assert "'an_entry'" in str(caught.value)


@pytest.mark.parametrize("name", ["net-seed1", "a net", "..", "nét", ""])
def test_a_name_that_is_no_folder_of_a_run_is_refused(name):
    with pytest.raises(EntryError, match=f"The entry {name!r} names a folder"):
        check({name: trained(CLASSIFIER)})


def test_a_network_without_an_image_size_is_refused(monkeypatch):
    network = NETWORKS["vgg16_classifier"]
    monkeypatch.setitem(NETWORKS, "vgg16_classifier", dataclasses.replace(network, arguments={"head": "linear"}))
    with pytest.raises(EntryError, match="takes no image_size"):
        check({"an_entry": trained(CLASSIFIER)})


def test_an_entry_does_not_replace_another_of_the_same_name():
    with pytest.raises(EntryError, match="Two entries have the name 'segmenter'"):
        joined({"classifier": 1, "segmenter": 2}, {}, {"segmenter": 3})
    assert joined({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}


@pytest.mark.parametrize("name, budget", [("scratch_residul", "cpu"), ("scratch_residual", "CPU")])
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(name, budget):
    with pytest.raises(EntryError, match=r"There is no .*(scratch_residual|cpu, gpu)"):
        resolve(name, budget)


def test_pick_replaces_what_depends_on_the_budget_at_any_depth():
    value = {"a": ByBudget(cpu=(1, ByBudget(cpu=2, gpu=3)), gpu=()), "b": (4,), "c": None}
    assert pick(value, "cpu") == pick(value, "smoke") == {"a": [1, 2], "b": [4], "c": None}
    assert pick(value, "gpu") == {"a": [], "b": [4], "c": None}


def test_names_of_runs():
    assert run_name("deep", 0) == "deep" and run_name("deep", 2) == "deep-seed2"
    assert experiment_of("deep") == experiment_of("deep-seed2") == experiment_of("deep-seed10") == "deep"


def test_every_run_has_a_title_of_its_own():
    titles = [title_of(run_name(name, seed)) for name in EXPERIMENTS for seed in range(3)]
    assert len(set(titles)) == 3 * len(EXPERIMENTS) and all(titles)
    assert title_of("vgg16_upsampled_full-seed2") == "VGG16, all layers, enlarged images, seed 2"
    assert title_of("somebody_elses_run-seed1") == "somebody elses run, seed 1"


def test_the_command_that_trains_a_run_names_its_budget_and_its_folder():
    """Without them it would train another run, and with --force discard a good one."""
    usual = training_command(Path("/home/me/hw2/results/gpu/scratch_final-seed1"), "gpu", force=True)
    assert usual == "python scripts/train_all.py --budget gpu --only scratch_final --seed 1 --force"
    elsewhere = training_command(Path("/My Drive/gpu/scratch_final"), "gpu")
    assert elsewhere.endswith("--budget gpu --only scratch_final --seed 0 --results '/My Drive/gpu'")
    other = training_command(Path("results/cpu/scratch_final"), "smoke")
    assert other.endswith("--budget smoke --only scratch_final --seed 0 --results results/cpu")

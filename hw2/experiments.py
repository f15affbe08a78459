"""What is trained: one literal entry an experiment; its name is its folder under `results/`.

A comment above an entry says why it is there, what the one before it taught and what was tried on the validation
split. Nothing here imports TensorFlow, so the report can read it.
"""

import dataclasses
import functools
from typing import Any

BUDGETS = ("smoke", "cpu", "gpu")


@dataclasses.dataclass(frozen=True)
class ByBudget:
    """A value that depends on the budget. `smoke` rehearses the cpu value in small, see `resolve`."""

    cpu: Any
    gpu: Any


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training with one optimizer. The defaults are part of every finished run's record: keep them.

    trainable: name, or beginning of it, of the first layer that is trained; the ones before it are frozen. "" trains
        all. What frozen layers make of the images is computed once and cached, unless something random comes first.
    schedule: "cosine" (to zero), "constant", or "plateau" (divided by 5 when the validation accuracy has not risen for
        `plateau_patience` epochs). warmup: share of the steps over which the rate first rises from zero.
    loss: for segmentation, a name in `hw2.losses`.
    augment: names of functions of `hw2.data.augment`, in order. joint: names of those that move masks too, applied
        before. mix: names of those that mix images, of which one, drawn for each batch, is applied with
        `mix_probability`. mirrored: train on each image and on its mirror image, twice the batches an epoch and nothing
        random, so that cached features serve.
    image_size: classification: what the network sees in this phase; None for the size in `model_arguments`.
    patience: stop after so many epochs without a better validation accuracy. keep_best: at the end of the phase, go
        back to the weights of the best epoch.
    """

    epochs: int | ByBudget
    learning_rate: float | ByBudget
    trainable: str | ByBudget = ""
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    batch_size: int | ByBudget = 128
    schedule: str = "cosine"
    warmup: float = 0.0
    plateau_patience: int | ByBudget = 3
    label_smoothing: float = 0.0
    loss: str = "cross_entropy"
    joint: tuple[str, ...] | ByBudget = ()
    augment: tuple[str, ...] | ByBudget = ()
    mix: tuple[str, ...] | ByBudget = ()
    mix_probability: float | ByBudget = 1.0
    mirrored: bool = False
    image_size: int | ByBudget | None = None
    patience: int | ByBudget | None = None
    keep_best: bool = False

    def __post_init__(self):
        if self.optimizer not in ("adamw", "sgd") or self.schedule not in ("cosine", "constant", "plateau"):
            raise ValueError(f"there is no optimizer {self.optimizer!r} or no schedule {self.schedule!r}")
        if self.warmup and self.schedule == "plateau":
            raise ValueError("the plateau schedule has no warm-up")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One entry. `question` and `cost` are for readers; the rest is what is run and what `config.json` records.

    cost: on the cpu budget that of two cores, for classifiers with AMX (without it, three to four times as much), for
        segmenters without.
    weights: what training starts from: "imagenet", the name of another experiment (its run with the same seed), or
        None. num_classes: of classification, fewer than 100 for a subset of the classes; of segmentation, 2 for
        foreground against background or 21. sbd: for segmentation, train on SBD's images too. extras: what is measured
        beside the usual figures, of "test_time_augmentation", "robustness" and "grad_cam". seeds: how many runs, from
        seed 0 up.
    """

    question: str
    cost: str
    model: str
    model_arguments: dict
    phases: tuple[Phase, ...]
    weights: str | None = None
    num_classes: int = 100
    sbd: bool = False
    extras: tuple[str, ...] = ()
    task: str = "classification"
    seeds: int = 1


@dataclasses.dataclass(frozen=True)
class Baselines:
    """An entry that trains nothing: what a segmenter has to beat."""

    question: str
    cost: str
    task: str = "baselines"
    seeds: int = 1


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """An entry that trains nothing: it combines what the finished runs `members` predicted."""

    question: str
    cost: str
    members: tuple[str, ...]
    task: str = "ensemble"
    seeds: int = 1


DENSE_BN = {"image_size": 32, "head": "dense_bn", "dropout": 0.5}
# The head alone, on features that are computed once: seconds an epoch, so patience rather than a tuned length.
HEAD = Phase(trainable="head", epochs=40, learning_rate=1e-3, patience=8, keep_best=True)
# The same, short, before deeper layers are let loose: their first gradients should not come from a random head.
HEAD_FIRST = Phase(trainable="head", epochs=8, learning_rate=1e-3)

# The upper block at a tenth of the head's rate: it is to adapt what ImageNet taught, not to forget it.
TUNE_BLOCK5 = Phase(trainable="block5", epochs=ByBudget(cpu=8, gpu=20), learning_rate=1e-4, warmup=0.1, keep_best=True)
# Gradual unfreezing (Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018): blocks 3 to 5 on the cached
# output of block 2, then everything. Blocks 1 and 2 hold 2 % of the weights and take about half of the time.
# Tried: 1e-4 with batches of 64 for blocks 3 to 5. After an epoch, 79 % of block 5's outputs were zero for every image
# (dead ReLUs; 0.2 % before), and validation accuracy had fallen from 45 % to 17 %: hence larger batches, with which the
# same rate rises from 45 % to 50 % in its first epoch. Four epochs of blocks 3 to 5 and two of all, at 7e-5 and 5e-5,
# had ended at 57.9 % on validation and 79 % on training images; these end at 61.6 % and 96 %.
UNFREEZE = (
    Phase(trainable="block3", epochs=ByBudget(cpu=3, gpu=15), learning_rate=1e-4, batch_size=256, warmup=0.1),
    Phase(epochs=ByBudget(cpu=7, gpu=15), learning_rate=7e-5, batch_size=256, warmup=0.1),
)

# The chain of our own networks: one recipe for all, so that each step changes one thing. AdamW rather than SGD, whose
# rate a network without normalisation takes ill; a warm-up, then a cosine to zero ("super-convergence", Smith and
# Topin, 2019, needs as many epochs as there are, and no stopping early). The best epoch is kept, because the networks
# without augmentation overfit. Tried for five epochs of 20,000 images, accuracy on validation: scratch_plain 24.3 %
# with 1e-3, 25.7 % with 2e-3; scratch_residual 33.0 % with 2e-3, 34.5 % with 4e-3, 35.6 % with SGD at 0.1 (decay 5e-3).
CHAIN = Phase(
    epochs=ByBudget(cpu=30, gpu=60), learning_rate=2e-3, weight_decay=0.05, warmup=0.2, batch_size=128, keep_best=True
)
CHAIN_AUGMENT = dataclasses.replace(CHAIN, augment=("flip", "shift"))
PLAIN = {"filters": ByBudget(cpu=(32, 64, 128), gpu=(48, 96, 192))}
RESIDUAL = {**PLAIN, "units": 2, "residual": True}
# The best of our own: see `scratch_final`. Its first epochs see small images, which take half of the time, but not the
# last (Touvron et al., "Fixing the train-test resolution discrepancy", 2019).
FINAL = {
    "filters": ByBudget(cpu=(64, 192, 384), gpu=(128, 384, 512)),
    "units": ByBudget(cpu=2, gpu=3),
}
FINAL_PHASE = Phase(
    epochs=ByBudget(cpu=20, gpu=60),
    optimizer="sgd",
    learning_rate=0.2,
    weight_decay=5e-3,
    warmup=0.05,
    batch_size=128,
    label_smoothing=0.1,
    augment=ByBudget(cpu=("flip", "shift"), gpu=("flip", "shift", "erase")),
    mix=ByBudget(cpu=("cutmix",), gpu=("mixup", "cutmix")),
    mix_probability=0.5,
)
FINAL_PHASES = (
    dataclasses.replace(FINAL_PHASE, epochs=ByBudget(cpu=12, gpu=30), schedule="constant", warmup=0.1, image_size=24),
    FINAL_PHASE,
)
# A little more training, from the end of `scratch_final`: the last stage and the head first.
LONGER_PHASE = dataclasses.replace(FINAL_PHASE, epochs=ByBudget(cpu=3, gpu=15), learning_rate=0.02)
LONGER = (
    dataclasses.replace(LONGER_PHASE, trainable="stage3", epochs=ByBudget(cpu=1, gpu=5)),
    LONGER_PHASE,
)

# All of them train on SBD's masks too, beside those of VOC's own "train".
Segmentation = functools.partial(Experiment, task="segmentation", num_classes=2, sbd=True)
# Segmentation: image and mask move together, colours change on the image alone.
JOINT = {"joint": ("joint_flip", "joint_scale_crop"), "augment": ("jitter",)}
SEG_BOOK = Phase(
    epochs=ByBudget(cpu=10, gpu=60), learning_rate=1e-3, warmup=0.1, batch_size=32, keep_best=True, **JOINT
)
# On the cpu budget, half the width and small images for the networks that start from nothing, which need many epochs,
# and a narrow decoder after VGG16: at full resolution a few filters cost as many multiply-adds as all of block 5.
BOOK = {"image_size": ByBudget(cpu=96, gpu=320), "width": ByBudget(cpu=0.5, gpu=1.0)}
UNET = {
    "image_size": ByBudget(cpu=96, gpu=320),
    "filters": ByBudget(cpu=(16, 32, 64, 128), gpu=(32, 64, 128, 256)),
    "decoder_filters": ByBudget(cpu=(64, 32, 16), gpu=(96, 64, 32)),
}
UNET_VGG16 = {
    "image_size": ByBudget(cpu=160, gpu=320),
    "decoder_filters": ByBudget(cpu=(64, 64, 32, 16), gpu=(128, 96, 64, 32)),
}
SEG_UNET = dataclasses.replace(SEG_BOOK, learning_rate=2e-3, weight_decay=0.01)
# The decoder first, on an encoder that is frozen; then both, the encoder's upper blocks at least, at a low rate.
SEG_VGG16 = (
    Phase(trainable="decoder", epochs=ByBudget(cpu=1, gpu=10), learning_rate=2e-3, warmup=0.1, batch_size=16, **JOINT),
    Phase(
        trainable=ByBudget(cpu="block4", gpu=""),
        epochs=ByBudget(cpu=2, gpu=40),
        learning_rate=1e-4,
        warmup=0.1,
        batch_size=16,
        keep_best=True,
        **JOINT,
    ),
)

EXPERIMENTS = {
    # Where everything starts: what do ImageNet features of a 32x32 image know, read out by one linear layer?
    "vgg16_features_linear": Experiment(
        question="How far do ImageNet features go with a linear classifier?",
        cost="cpu 1 min, half of it the features, which the other heads share; gpu 1 min",
        model="vgg16_classifier",
        model_arguments={"image_size": 32, "head": "linear"},
        weights="imagenet",
        phases=(dataclasses.replace(HEAD, learning_rate=2e-4, patience=None),),
    ),
    # The linear head reached 37 % on validation, and gave wrong answers with great confidence: 85 % of the raw
    # features are zero and the others 24 on average, so its logits swing. A hidden layer can combine features before it
    # judges, and dropout keeps it from relying on a few.
    "vgg16_features_dense": Experiment(
        question="Does a hidden layer read more out of the same features?",
        cost="cpu 2 min after vgg16_features_linear; gpu 1 min",
        model="vgg16_classifier",
        model_arguments={"image_size": 32, "head": "dense", "dropout": 0.5},
        weights="imagenet",
        phases=(HEAD,),
    ),
    # The hidden layer reached 42 % on validation and 88 % on training images, its validation loss rising from the sixth
    # epoch on: it still starts from features that are large, and some five times as large as others. Normalise them,
    # before and inside the head.
    "vgg16_features_dense_bn": Experiment(
        question="Does normalising the features help the hidden layer?",
        cost="cpu 2 min after vgg16_features_linear; gpu 1 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD,),
    ),
    # Normalising brought 45 % on validation, and a loss of 2.3 in place of 3.8; training accuracy ran to 75 % all the
    # same. More data is the next thing to try, and a mirrored image is the cheapest more: one more pass through the
    # base.
    "vgg16_features_flip": Experiment(
        question="Does augmentation help when the base is frozen, at the price of the features of every copy?",
        cost="cpu 3 min after vgg16_features_linear; gpu 1 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(dataclasses.replace(HEAD, mirrored=True),),
    ),
    # The mirror images brought nothing that shows on validation, for twice the cost: what limits is not the head but
    # what the features say. So let the upper block adapt. Its input is fixed as long as nothing random comes before it,
    # so it is cached. Tried on 15,000 images: 1e-4 rose to 44 % in two epochs, from a head at 40 %.
    "vgg16_block5": Experiment(
        question="What does tuning the upper block bring?",
        cost="cpu 4 min; gpu 2 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, TUNE_BLOCK5),
    ),
    # The control for the low rate: the block at the head's own. Outcome: from 44 % on validation down to 2 % in the
    # first epoch, and back up to 54 % as the rate goes to zero, against 55 % with the low one.
    "vgg16_block5_fast": Experiment(
        question="What does a rate ten times as high do to the upper block?",
        cost="cpu 3 min after vgg16_block5; gpu 2 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, dataclasses.replace(TUNE_BLOCK5, learning_rate=1e-3)),
    ),
    # vgg16_block5 with every image shifted and mirrored anew each epoch: nothing can be cached, all of VGG16 runs each
    # time. Outcome: 55 % on validation as without, at 61 % on training images in place of 87 %.
    "vgg16_block5_augment": Experiment(
        question="Does augmentation make sense when only the upper block is tuned?",
        cost="cpu 7 min; gpu 2 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, dataclasses.replace(TUNE_BLOCK5, augment=("flip", "shift"))),
    ),
    # Ten more convolutions than in vgg16_block5, and with them the filters of small things, which a 32x32 image is
    # full of: what the first four blocks learned from 224x224 images does not fit it.
    # Outcome: 61.6 % on validation at 96 % on training images: it has learned these by heart, and more epochs would not
    # help. 66 %, which we had hoped for, has to come from elsewhere.
    "vgg16_full": Experiment(
        question="What does training the whole network bring, and what happens to the gap to validation?",
        cost="cpu 20 min; gpu 5 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, *UNFREEZE),
    ),
    # Outcome: 62.9 % on validation at 74 % on training images, where without augmentation it was 96 %: there is room
    # left that a longer schedule could use. 66 % is missed at 32 px in ten epochs; on images of 64 px three pass it
    # (`vgg16_upsampled_full`).
    "vgg16_full_augment": Experiment(
        question="Does augmentation close the gap of the fully trained network?",
        cost="cpu 25 min; gpu 10 min",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, *(dataclasses.replace(phase, augment=("flip", "shift")) for phase in UNFREEZE)),
    ),
    # VGG16's total stride is 32: at 32 px its last map is 1x1, at 96 px 3x3, at the 224 px of its training 7x7.
    # Outcome: 64 % on validation against 46 % with the same head on the same weights.
    "vgg16_upsampled_features": Experiment(
        question="What do the frozen features know when the images are enlarged, and at what cost?",
        cost="cpu 4 min, most of it the features; gpu 5 min",
        model="vgg16_classifier",
        model_arguments={**DENSE_BN, "image_size": ByBudget(cpu=96, gpu=224)},
        weights="imagenet",
        phases=(HEAD,),
    ),
    # At 64 px an epoch costs four times as much, so there are three in place of ten. Outcome: 68.6 % on validation, the
    # best of VGG16, at 81 % on training images, and still rising.
    "vgg16_upsampled_full": Experiment(
        question="And what when the whole network is trained on enlarged images?",
        cost="cpu 20 min; gpu 30 min",
        model="vgg16_classifier",
        model_arguments={**DENSE_BN, "image_size": ByBudget(cpu=64, gpu=128)},
        weights="imagenet",
        phases=(
            HEAD_FIRST,
            Phase(
                trainable="block3",
                epochs=ByBudget(cpu=1, gpu=10),
                learning_rate=5e-5,
                batch_size=128,
                warmup=0.1,
            ),
            Phase(epochs=ByBudget(cpu=2, gpu=12), learning_rate=3e-5, batch_size=128, warmup=0.1),
        ),
    ),
    # A small VGG: a stem and six 3x3 convolutions, the resolution halved three times, no normalisation.
    "scratch_plain": Experiment(
        question="How far does a small convnet get from nothing?",
        cost="cpu 2 min; gpu 3 min",
        model="scratch_classifier",
        model_arguments={**PLAIN, "batch_norm": False},
        phases=(CHAIN,),
        seeds=3,
    ),
    # 44 % on validation, 64 % on training images, and slow to begin: its layers see inputs whose scale moves as the
    # ones before learn. Normalise them.
    "scratch_bn": Experiment(
        question="What does batch normalisation bring?",
        cost="cpu 3 min for each of three seeds; gpu 3 min each",
        model="scratch_classifier",
        model_arguments=PLAIN,
        phases=(CHAIN,),
        extras=("robustness",),
        seeds=3,
    ),
    # 50 % on validation, but 69 % on training images: show it each image in another place, half of the time mirrored.
    # Three seeds of both nets, since one or two points are at stake.
    "scratch_bn_augment": Experiment(
        question="Does augmentation close the gap to validation?",
        cost="cpu 3 min for each of three seeds; gpu 3 min each",
        model="scratch_classifier",
        model_arguments=PLAIN,
        phases=(CHAIN_AUGMENT,),
        extras=("robustness",),
        seeds=3,
    ),
    # 51 % and 53 % (of three seeds 50.9 to 51.3 % on validation, 49.2 to 49.9 % without): now it underfits. Twice the
    # depth, by the simplest means.
    "scratch_deep": Experiment(
        question="Does twice the depth help by itself?",
        cost="cpu 4 min; gpu 5 min",
        model="scratch_classifier",
        model_arguments={**PLAIN, "units": 4},
        phases=(CHAIN_AUGMENT,),
        seeds=3,
    ),
    # 47 % on validation and 49 % on training images: worse on both, so it is harder to train. The same 13 convolutions,
    # in pairs with a sum around each.
    "scratch_residual": Experiment(
        question="Do residual connections make the depth worth it?",
        cost="cpu 4 min; gpu 5 min",
        model="scratch_classifier",
        model_arguments=RESIDUAL,
        phases=(CHAIN_AUGMENT,),
        extras=("robustness",),
        seeds=3,
    ),
    # And at the smaller depth, where training is not hard: do they still help? Outcome: 50 % on validation, 51 %
    # without them; so they mend what depth breaks and bring nothing by themselves.
    "scratch_residual_shallow": Experiment(
        question="Do residual connections help a network that is not deep?",
        cost="cpu 2 min; gpu 3 min",
        model="scratch_classifier",
        model_arguments={**RESIDUAL, "units": 1},
        phases=(CHAIN_AUGMENT,),
        seeds=3,
    ),
    # The mean rate of the schedule, all the time. Outcome: 47 % on validation, less than the schedule has after seven
    # of its ten epochs.
    "scratch_residual_constant": Experiment(
        question="What does the schedule bring, against a constant learning rate?",
        cost="cpu 4 min; gpu 5 min",
        model="scratch_classifier",
        model_arguments=RESIDUAL,
        phases=(dataclasses.replace(CHAIN_AUGMENT, schedule="constant", warmup=0.0, learning_rate=1e-3),),
        seeds=3,
    ),
    # Outcome: none of the ten epochs was without a rise of validation accuracy, if by a tenth of a point, so the rule
    # did not act, and the run is the constant one. (In float32, where the ninth was without, it divided the rate then,
    # and gained six points in the tenth, 51 %. So it is the small rate at the end that counts, and the rule is made for
    # training that is longer.)
    "scratch_residual_plateau": Experiment(
        question="And against a rate that falls when validation no longer rises?",
        cost="cpu 4 min; gpu 5 min",
        model="scratch_classifier",
        model_arguments=RESIDUAL,
        phases=(
            dataclasses.replace(
                CHAIN_AUGMENT,
                schedule="plateau",
                warmup=0.0,
                learning_rate=1e-3,
                plateau_patience=ByBudget(cpu=2, gpu=3),
                patience=ByBudget(cpu=6, gpu=10),
            ),
        ),
        seeds=3,
    ),
    # Every 3x3 convolution but the stem in two steps: within a channel, then across channels.
    # Outcome: 45 % on validation against 52 %, with a sixth of the parameters, in five sixths of the time.
    "scratch_separable": Experiment(
        question="Depthwise-separable convolutions: what happens to accuracy, parameters, multiply-adds and seconds?",
        cost="cpu 3 min; gpu 5 min",
        model="scratch_classifier",
        model_arguments={**RESIDUAL, "separable": True},
        phases=(CHAIN_AUGMENT,),
        seeds=3,
    ),
    "scratch_residual_10classes": Experiment(
        question="How does the same network do with 10 of the classes?",
        cost="cpu 2 min; gpu 2 min",
        model="scratch_classifier",
        model_arguments=RESIDUAL,
        num_classes=10,
        phases=(dataclasses.replace(CHAIN_AUGMENT, epochs=ByBudget(cpu=90, gpu=180)),),
    ),
    "scratch_residual_20classes": Experiment(
        question="And with 20?",
        cost="cpu 2 min; gpu 3 min",
        model="scratch_classifier",
        model_arguments=RESIDUAL,
        num_classes=20,
        phases=(dataclasses.replace(CHAIN_AUGMENT, epochs=ByBudget(cpu=69, gpu=130)),),
    ),
    "scratch_residual_50classes": Experiment(
        question="And with 50?",
        cost="cpu 3 min; gpu 4 min",
        model="scratch_classifier",
        model_arguments=RESIDUAL,
        num_classes=50,
        phases=(dataclasses.replace(CHAIN_AUGMENT, epochs=ByBudget(cpu=42, gpu=85)),),
    ),
    # Another network, after Jordan's ("94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024): first filters that are
    # computed from the images and not learned, and wide convolutions on small maps. Under the chain's recipe, so that
    # what the network brings and what its training brings can be told apart. Outcome: 66 % on validation, fourteen
    # points more, at 78 % on training images: most of what `scratch_final` is better by, and the first of the chain
    # that overfits although images are augmented.
    "scratch_whitened": Experiment(
        question="Another kind of network under the same recipe: what does the design itself bring?",
        cost="cpu 9 min; gpu 4 min",
        model="whitened_classifier",
        model_arguments=FINAL,
        phases=(CHAIN_AUGMENT,),
        extras=("robustness",),
    ),
    # The same network, trained for longer and otherwise. Tried on 20,000 images with (64, 128, 256) filters, accuracy
    # on validation after five epochs of SGD: 46.6 % with a rate of 0.1 (scratch_residual: 35.6 %), and 48.4 % with
    # 0.2. Its first filters learned instead: 22 % after two epochs in place of 28 %, at three quarters of the speed.
    # Twice as wide from the second stage on: 39 % in the same time. Then at 24 pixels for eight epochs: 50.5 %; with
    # CutMix on half of the batches 46.0 %, with a dropout of 0.2 before the last layer 49.3 %. So a first version, of
    # 10 epochs at 24 and 14 at 32 pixels, had neither: 69.6 % on validation (70.2 % on test) at 85 % on training
    # images, a wider gap than the ten points of the short trials. Hence, on all images, wider stages, eight epochs
    # more, and CutMix after all. Outcome: 71 to 73 % on validation at 73 % on training images, of which half are
    # mixed, and the 72 % on test that we had hoped for; ten views of each image bring two points more. On a GPU, where
    # there are ninety epochs and a larger network, images are mixed by mixup and erased too (not tried by us).
    "scratch_final": Experiment(
        question="What is the best that we can build?",
        cost="cpu 25 min for each of three seeds; gpu 10 min each",
        model="whitened_classifier",
        model_arguments=FINAL,
        phases=FINAL_PHASES,
        extras=("test_time_augmentation", "robustness", "grad_cam"),
        seeds=3,
    ),
    # Enlarged by the model itself: the same weights on a map that is half as large again. Outcome: 71.3 % on validation
    # as before, after a fall to 65 % in the first epoch, and still rising: filters that know objects of one size have
    # to learn the other first, for which four epochs are just enough.
    "scratch_final_48px": Experiment(
        question="Does tuning on larger images help?",
        cost="cpu 6 min after scratch_final; gpu 8 min",
        model="whitened_classifier",
        model_arguments={**FINAL, "image_size": ByBudget(cpu=48, gpu=64)},
        weights="scratch_final",
        phases=LONGER,
    ),
    # The control: as many more epochs on images as they are. Outcome: 71.9 % on validation against 71.2 %.
    "scratch_final_longer": Experiment(
        question="Or is it only the further training?",
        cost="cpu 3 min after scratch_final; gpu 4 min",
        model="whitened_classifier",
        model_arguments=FINAL,
        weights="scratch_final",
        phases=LONGER,
    ),
    # Outcome: 75 % on validation, three points more than one of them.
    "ensemble_scratch_final": Ensemble(
        question="How much better are three seeds of one network than one?",
        cost="seconds, after its members",
        members=("scratch_final", "scratch_final-seed1", "scratch_final-seed2"),
    ),
    # Outcome: with fitted weights 74 % on validation, with equal ones 73 %. VGG16 at 64 px and the final network carry
    # it, with nineteen twentieths of the weight: they are about equally good, and different.
    "ensemble_mixed": Ensemble(
        question="And networks of different kinds, some of which saw ImageNet?",
        cost="seconds, after its members",
        members=("scratch_final", "scratch_residual", "vgg16_full_augment", "vgg16_upsampled_full"),
    ),
    "seg_baselines": Baselines(
        question="How good is an answer that no training went into?",
        cost="5 min",
    ),
    # Chollet's encoder-decoder, of which three seeds tell the difference of two decoders from that of two runs.
    # Outcome: an IoU of 48 to 50 % on validation with either, above GrabCut's 43 %; with transposed convolutions a
    # checkerboard of ten times the energy around it, with bilinear up-sampling none.
    "seg_book_transpose": Segmentation(
        question="The book's network: how far without skips, normalisation or ImageNet?",
        cost="cpu 10 min for each of three seeds; gpu 5 min each",
        model="seg_book",
        model_arguments={**BOOK, "decoder": "transpose"},
        phases=(SEG_BOOK,),
        seeds=3,
    ),
    "seg_book_bilinear": Segmentation(
        question="Bilinear up-sampling and convolution in place of transposed convolution: what changes?",
        cost="cpu 15 min for each of three seeds; gpu 8 min each",
        model="seg_book",
        model_arguments={**BOOK, "decoder": "bilinear"},
        phases=(SEG_BOOK,),
        seeds=3,
    ),
    # Skips let the decoder see where edges are, normalisation lets it learn faster. Outcome: an IoU of 53 % on
    # validation, after the sixth of ten epochs; the last ones had a lower loss, and an IoU at a threshold of one half
    # (by which the best epoch is chosen) that jumps.
    "seg_unet_scratch": Segmentation(
        question="What do skips and normalisation bring?",
        cost="cpu 15 min; gpu 8 min",
        model="seg_unet",
        model_arguments=UNET,
        phases=(SEG_UNET,),
    ),
    # Outcome, of the two together: 52 % on validation with either. Dice alone asks for a threshold of 0.05.
    "seg_unet_scratch_dice": Segmentation(
        question="The same trained for the overlap: what does the Dice loss change?",
        cost="cpu 15 min; gpu 8 min",
        model="seg_unet",
        model_arguments=UNET,
        phases=(dataclasses.replace(SEG_UNET, loss="dice"),),
    ),
    "seg_unet_scratch_both": Segmentation(
        question="And for both?",
        cost="cpu 15 min; gpu 8 min",
        model="seg_unet",
        model_arguments=UNET,
        phases=(dataclasses.replace(SEG_UNET, loss="both"),),
    ),
    # Three thousand masks cannot teach what objects look like; a million photographs have. Outcome of either decoder:
    # IoU 63 % on validation with a frozen encoder, 65 % after two tuned epochs, and 76 % on training images (by a
    # threshold of one half; 69 % by the best one). We had hoped for 80 %: three epochs at 160 pixels are what two cores
    # without matrix units have time for, and the gap says that more epochs would need more augmentation as well.
    "seg_unet_vgg16_transpose": Segmentation(
        question="What does an encoder bring that knows ImageNet?",
        cost="cpu 45 min; gpu 15 min",
        model="seg_unet_vgg16",
        model_arguments={**UNET_VGG16, "decoder": "transpose"},
        weights="imagenet",
        phases=SEG_VGG16,
    ),
    "seg_unet_vgg16_bilinear": Segmentation(
        question="And there, transposed convolution or bilinear up-sampling?",
        cost="cpu 60 min; gpu 20 min",
        model="seg_unet_vgg16",
        model_arguments={**UNET_VGG16, "decoder": "bilinear"},
        weights="imagenet",
        phases=SEG_VGG16,
    ),
    "seg_unet_mobilenetv2": Segmentation(
        question="A smaller encoder, as in TensorFlow's tutorial: what does it cost and bring?",
        cost="cpu 40 min; gpu 10 min; needs the network for its weights",
        model="seg_unet_mobilenetv2",
        model_arguments={"image_size": ByBudget(cpu=160, gpu=320)},
        phases=(
            SEG_VGG16[0],
            dataclasses.replace(SEG_VGG16[1], trainable=ByBudget(cpu="block_11", gpu="")),
        ),
    ),
    # Tried: the phases and the decoder of the others, whose last step has 16 filters for 21 classes. Mean IoU on
    # validation was 7 % after the first epoch and 8 % after the second, little more than background: 200 steps an epoch
    # tell objects from background, but not twenty kinds of them. So on the cpu budget the decoder ends at a quarter of
    # the image's size, and in its first epochs sees images as they are: then the maps of the frozen blocks 3, 4 and 5
    # can be cached (those of the first two would be 16 GB more).
    # Outcome: 29 % on validation (27 % before the encoder is released, at 49 % on training images), where we had hoped
    # for 50 %: 3,225 images are few for twenty classes, and at 160 pixels some are hardly to be seen. What it finds is
    # as good as what the network finds that names nothing; the rarer classes go without.
    "seg_unet_vgg16_classes": Segmentation(
        question="Not only where, but what: all 21 classes?",
        cost="cpu 60 min, 13 GB of memory; gpu 20 min",
        num_classes=21,
        model="seg_unet_vgg16",
        model_arguments={
            **UNET_VGG16,
            "decoder": "bilinear",
            "decoder_filters": ByBudget(cpu=(96, 64), gpu=(128, 96, 64, 32)),
        },
        weights="imagenet",
        phases=(
            dataclasses.replace(
                SEG_VGG16[0],
                epochs=10,
                joint=ByBudget(cpu=(), gpu=JOINT["joint"]),
                augment=ByBudget(cpu=(), gpu=JOINT["augment"]),
            ),
            SEG_VGG16[1],
        ),
    ),
}

# Images of the synthetic set that stands in for the real one in the smoke budget.
SMOKE_DATA = {"source": "synthetic", "train": 256, "validation": 128, "test": 128}
SMOKE_MASKS = {"source": "synthetic", "train": 32, "validation": 16, "test": 16}
VOC_DATA = {"source": "voc2012"}
CIFAR100_DATA = {"source": "cifar100", "train": 45_000, "validation": 5_000, "test": 10_000}


def run_name(name, seed):
    """Return the folder name of a run: seed 0 has the experiment's own name, others a suffix."""
    return name if seed == 0 else f"{name}-seed{seed}"


def seeds_of(name, budget, seed=None):
    """Return the seeds of an entry's runs: all of them, or `seed` alone; of what trains nothing, only ever one.

    In the smoke budget the further seeds run only where an ensemble needs them.
    """
    entry = EXPERIMENTS[name]
    if not isinstance(entry, Experiment):
        return [0]
    if seed is not None:
        return [seed]
    if budget != "smoke":
        return list(range(entry.seeds))
    members = {member for other in EXPERIMENTS.values() if isinstance(other, Ensemble) for member in other.members}
    return [seed for seed in range(entry.seeds) if seed == 0 or run_name(name, seed) in members]


def resolve(name, budget="cpu", seed=0):
    """Return the configuration of a run as a dictionary of JSON values: what `config.json` holds.

    `smoke` takes the cpu values and cuts each phase to one epoch, the batch to 32 images, the data to a few hundred
    synthetic ones, networks to a fraction of their width and depth (VGG16's weights are then random), and images to 64
    pixels at the most.
    """
    experiment = EXPERIMENTS[name]

    def pick(value):
        if isinstance(value, ByBudget):
            return pick(value.gpu if budget == "gpu" else value.cpu)
        if isinstance(value, dict):
            return {key: pick(item) for key, item in value.items()}
        return [pick(item) for item in value] if isinstance(value, tuple) else value

    def record(phase):
        # What is left at its default is not recorded, so that a new field does not make old results another run's.
        values = {field.name: pick(getattr(phase, field.name)) for field in dataclasses.fields(Phase)}
        defaults = {field.name: pick(field.default) for field in dataclasses.fields(Phase)}
        return {name: value for name, value in values.items() if value != defaults[name]}

    if experiment.task == "ensemble":
        shared = {"experiment": name, "budget": budget, "seed": seed, "task": experiment.task}
        return shared | {"members": list(experiment.members)}
    if experiment.task == "baselines":
        data = SMOKE_MASKS if budget == "smoke" else VOC_DATA
        return {"experiment": name, "budget": budget, "seed": seed, "task": experiment.task, "data": data}
    config = {
        "experiment": name,
        "budget": budget,
        "seed": seed,
        "task": experiment.task,
        "data": CIFAR100_DATA if experiment.task == "classification" else VOC_DATA | {"sbd": experiment.sbd},
        "model": experiment.model,
        "model_arguments": pick(experiment.model_arguments),
        "phases": [record(phase) for phase in experiment.phases],
    }
    if experiment.weights:
        config["weights"] = experiment.weights
    if experiment.extras:
        config["extras"] = list(experiment.extras)
    if budget == "smoke":
        config["data"] = SMOKE_DATA if experiment.task == "classification" else SMOKE_MASKS
        config["phases"] = [phase | {"epochs": 1, "batch_size": 32} for phase in config["phases"]]
        if "vgg16" in config["model"]:
            del config["weights"]
        if "vgg16" in config["model"] or config["model"] == "seg_book":
            config["model_arguments"] |= {"width": 0.25}
        if config["model"] == "scratch_classifier":
            units = config["model_arguments"].get("units", 2) // 2
            config["model_arguments"] |= {"stem_filters": 8, "filters": [8, 16, 24], "units": units}
        if config["model"] == "whitened_classifier":
            config["model_arguments"] |= {"filters": [8, 16, 24]}
        if config["model"] == "seg_unet":
            config["model_arguments"] |= {"filters": [8, 16, 16], "decoder_filters": [16, 8]}
        if config["model"] == "seg_unet_mobilenetv2":
            config["model_arguments"] |= {"weights": None}
        if "image_size" in config["model_arguments"]:
            config["model_arguments"]["image_size"] = min(64, config["model_arguments"]["image_size"])
    if experiment.task == "segmentation":
        config["num_classes"] = experiment.num_classes
    elif experiment.num_classes < 100:
        config["data"] = config["data"] | {"classes": experiment.num_classes}
    return config

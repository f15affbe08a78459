"""VGG16 with ImageNet weights on CIFAR-100: frozen, fine-tuned in part or as a whole, and on enlarged images."""

import dataclasses

from hw2.experiments.schema import ByBudget, Experiment, Phase

DENSE_BN = {"image_size": 32, "head": "dense_bn", "dropout": 0.5}

# The head alone, on cached features. An epoch takes seconds, so early stopping rather than tuning sets their number.
HEAD = Phase(
    trainable="head",
    epochs=40,
    learning_rate=1e-3,
    batch_size=ByBudget(cpu=128, gpu=256),
    patience=8,
    keep_best=True,
)
# A short first phase before deeper layers are trained: the gradients from a random head would spoil their weights.
HEAD_FIRST = dataclasses.replace(HEAD, epochs=8, patience=None, keep_best=False)
# A tenth of the head's learning rate: the upper block should adapt its ImageNet features, not lose them.
TUNE_BLOCK5 = Phase(trainable="block5", epochs=ByBudget(cpu=8, gpu=12), learning_rate=1e-4, warmup=0.1, keep_best=True)
# Gradual unfreezing (Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018): blocks 3 to 5 on the cached
# output of block 2, then all layers. Blocks 1 and 2 hold 2 % of the weights and take about half of the time. The
# batches are large because at this learning rate smaller ones left most units of block 5 dead.
UNFREEZE = (
    Phase(trainable="block3", epochs=ByBudget(cpu=3, gpu=6), learning_rate=1e-4, batch_size=256, warmup=0.1),
    Phase(epochs=ByBudget(cpu=7, gpu=12), learning_rate=7e-5, batch_size=256, warmup=0.1),
)

EXPERIMENTS = {
    # The starting point: a single linear layer on the ImageNet features of 32x32 images.
    "vgg16_features_linear": Experiment(
        title="frozen VGG16, linear head",
        question="How far do ImageNet features go with a linear classifier?",
        model="vgg16_classifier",
        model_arguments={"image_size": 32, "head": "linear"},
        weights="imagenet",
        phases=(dataclasses.replace(HEAD, learning_rate=2e-4, patience=None),),
    ),
    # Compared with vgg16_features_linear. Most of the raw features are zero and the others are large, so the logits of
    # a linear layer vary widely and its wrong answers are overconfident. A hidden layer can combine features first, and
    # dropout keeps it from relying on a few of them.
    "vgg16_features_dense": Experiment(
        title="frozen VGG16, dense head",
        question="Does a hidden layer extract more from the same features?",
        model="vgg16_classifier",
        model_arguments={"image_size": 32, "head": "dense", "dropout": 0.5},
        weights="imagenet",
        phases=(HEAD,),
    ),
    # Compared with vgg16_features_dense, whose features are large and differ in scale. Batch normalisation before and
    # inside the head gives all of them the same scale.
    "vgg16_features_dense_bn": Experiment(
        title="frozen VGG16, normalised head",
        question="Does normalising the features help the hidden layer?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD,),
    ),
    # Compared with vgg16_features_dense_bn, which overfits. Mirror images are the cheapest augmentation: there is one
    # for each image, so that features can still be cached, at the cost of one more pass through the base.
    "vgg16_features_flip": Experiment(
        title="frozen VGG16, mirror images added",
        question="Does augmentation help when the base is frozen, at the cost of computing the features of every copy?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(dataclasses.replace(HEAD, mirrored=True),),
    ),
    # Compared with vgg16_features_dense_bn: if the features limit accuracy rather than the head, the upper block has to
    # adapt. Without augmentation the input of the block is the same in every epoch and is cached.
    "vgg16_block5": Experiment(
        title="VGG16, block 5 tuned",
        question="How much does fine-tuning the upper block improve accuracy?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, TUNE_BLOCK5),
    ),
    # The control for the low learning rate of vgg16_block5: the block trains at the head's rate.
    "vgg16_block5_fast": Experiment(
        title="VGG16, block 5 at a high rate",
        question="What happens to the upper block at ten times the learning rate?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, dataclasses.replace(TUNE_BLOCK5, learning_rate=1e-3)),
    ),
    # Compared with vgg16_block5: images are mirrored and shifted at random in every epoch, so that nothing can be
    # cached and every step runs the whole network.
    "vgg16_block5_augment": Experiment(
        title="VGG16, block 5, augmented",
        question="Is augmentation worth its cost when only the upper block is fine-tuned?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, dataclasses.replace(TUNE_BLOCK5, augment=("flip", "shift"))),
    ),
    # Compared with vgg16_block5: ten more convolutions are trained, among them the filters for small structures, which
    # dominate a 32x32 image. The first four blocks learned theirs from 224x224 images.
    "vgg16_full": Experiment(
        title="VGG16, all layers",
        question="How much does training the whole network improve accuracy, and does it widen the gap to validation?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, *UNFREEZE),
    ),
    # Compared with vgg16_full, which has enough weights to memorise the training set.
    "vgg16_full_augment": Experiment(
        title="VGG16, all layers, augmented",
        question="Does augmentation close the gap to validation when the whole network is trained?",
        model="vgg16_classifier",
        model_arguments=DENSE_BN,
        weights="imagenet",
        phases=(HEAD_FIRST, *(dataclasses.replace(phase, augment=("flip", "shift")) for phase in UNFREEZE)),
    ),
    # Compared with vgg16_features_dense_bn, which has the same head. VGG16 reduces the resolution by 32: the last map
    # is 1x1 at 32 px, 4x4 at 128 px, and 7x7 at the 224 px on which the network was trained.
    "vgg16_upsampled_features": Experiment(
        title="frozen VGG16, enlarged images",
        question="How much do the frozen features improve when the images are enlarged, and at what cost?",
        model="vgg16_classifier",
        model_arguments={**DENSE_BN, "image_size": ByBudget(cpu=128, gpu=224)},
        weights="imagenet",
        phases=(HEAD,),
    ),
    # Compared with vgg16_full and vgg16_upsampled_features: both steps together. At 64 px an epoch costs four times as
    # much as at 32 px, so the cpu budget has fewer epochs. At 96 px the output of block 2 would take 7 GB in the
    # cache, that of block 3 half.
    "vgg16_upsampled_full": Experiment(
        title="VGG16, all layers, enlarged images",
        question="How accurate is VGG16 when the whole network is trained on enlarged images?",
        model="vgg16_classifier",
        model_arguments={**DENSE_BN, "image_size": ByBudget(cpu=64, gpu=96)},
        weights="imagenet",
        phases=(
            HEAD_FIRST,
            Phase(
                trainable=ByBudget(cpu="block3", gpu="block4"),
                epochs=ByBudget(cpu=1, gpu=3),
                learning_rate=5e-5,
                batch_size=128,
                warmup=0.1,
            ),
            Phase(epochs=ByBudget(cpu=2, gpu=4), learning_rate=3e-5, batch_size=128, warmup=0.1),
        ),
    ),
}

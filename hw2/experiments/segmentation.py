"""Segmentation of PASCAL VOC 2012: foreground against background, and all 21 classes."""

import dataclasses
import functools

from hw2.experiments.schema import Baselines, ByBudget, Experiment, Phase

# All networks train on the masks of SBD as well as on the images of VOC's "train".
Segmentation = functools.partial(Experiment, task="segmentation", num_classes=2, sbd=True)

# Flips and crops move image and mask together; jitter changes the colours of the image alone.
JOINT = {"joint": ("joint_flip", "joint_scale_crop"), "augment": ("jitter",)}

# Networks that are trained from scratch need many epochs, so their layers are half as wide as the book's, and on the
# cpu budget their images are small. The gpu budget has fewer epochs: augmenting the complete sets at 224 px takes the
# two cores beside a small GPU twenty seconds an epoch.
BOOK = {"image_size": ByBudget(cpu=96, gpu=224), "width": 0.5}
SEG_BOOK = Phase(epochs=ByBudget(cpu=10, gpu=4), learning_rate=1e-3, warmup=0.1, batch_size=32, keep_best=True, **JOINT)
UNET = {
    "image_size": ByBudget(cpu=96, gpu=224),
    "filters": (16, 32, 64, 128),
    "decoder_filters": (64, 32, 16),
}
SEG_UNET = dataclasses.replace(SEG_BOOK, learning_rate=2e-3, weight_decay=0.01)

# A narrow decoder: at full resolution a few filters cost as many multiply-adds as all of block 5.
UNET_VGG16 = {"image_size": ByBudget(cpu=160, gpu=224), "decoder_filters": (64, 64, 32, 16)}
# First the decoder on a frozen encoder, then the encoder too, at a low learning rate. Its lower blocks stay frozen,
# since they take most of the time.
SEG_VGG16 = (
    Phase(trainable="decoder", epochs=1, learning_rate=2e-3, warmup=0.1, batch_size=16, **JOINT),
    Phase(
        trainable="block4",
        epochs=ByBudget(cpu=2, gpu=3),
        learning_rate=1e-4,
        warmup=0.1,
        batch_size=16,
        keep_best=True,
        **JOINT,
    ),
)

UNET_MOBILENETV2 = {"image_size": ByBudget(cpu=160, gpu=224)}
# The phases of VGG16. MobileNetV2 has batch normalisation and is smaller, hence a higher rate and more epochs.
SEG_MOBILENETV2 = (
    dataclasses.replace(SEG_VGG16[0], epochs=ByBudget(cpu=2, gpu=1)),
    dataclasses.replace(
        SEG_VGG16[1],
        trainable=ByBudget(cpu="block_6", gpu=""),
        epochs=ByBudget(cpu=10, gpu=4),
        learning_rate=3e-4,
    ),
)

# A light decoder leaves time for larger images. Its logits have a quarter of the image's size.
LIGHT_MOBILENETV2 = {"image_size": 224, "decoder": "bilinear"}
SEG_LIGHT = dataclasses.replace(
    SEG_MOBILENETV2[1], epochs=ByBudget(cpu=16, gpu=6), learning_rate=5e-4, weight_decay=1e-4
)

EXPERIMENTS = {
    # The lower bound for every network: constant answers, a centred ellipse, and GrabCut; none learns from masks.
    "seg_baselines": Baselines(
        title="methods without training",
        question="How good is a segmentation without training?",
    ),
    # Chollet's encoder-decoder, compared with seg_book_bilinear. Three seeds of each show whether two decoders differ
    # by more than two runs of one decoder.
    "seg_book_transpose": Segmentation(
        title="book's net, transposed",
        question="How far does the book's network get without skip connections, normalisation or ImageNet weights?",
        model="seg_book",
        model_arguments={**BOOK, "decoder": "transpose"},
        phases=(SEG_BOOK,),
        seeds=3,
    ),
    "seg_book_bilinear": Segmentation(
        title="book's net, bilinear",
        question="What changes when bilinear up-sampling and a convolution replace each transposed convolution?",
        model="seg_book",
        model_arguments={**BOOK, "decoder": "bilinear"},
        phases=(SEG_BOOK,),
        seeds=3,
    ),
    # Compared with seg_book_bilinear: skip connections tell the decoder where the edges are, and normalisation speeds
    # up learning.
    "seg_unet_scratch": Segmentation(
        title="U-Net, cross-entropy",
        question="How much do skip connections and normalisation contribute?",
        model="seg_unet",
        model_arguments=UNET,
        phases=(SEG_UNET,),
        seeds=3,
    ),
    # This entry and the next are compared with seg_unet_scratch, which is trained with cross-entropy. The Dice loss
    # optimises the overlap of the masks, cross-entropy each pixel by itself.
    "seg_unet_scratch_dice": Segmentation(
        title="U-Net, Dice loss",
        question="What changes when the network is trained with the Dice loss?",
        model="seg_unet",
        model_arguments=UNET,
        phases=(dataclasses.replace(SEG_UNET, loss="dice"),),
        seeds=3,
    ),
    "seg_unet_scratch_both": Segmentation(
        title="U-Net, both losses",
        question="Does the sum of cross-entropy and Dice loss improve on either alone?",
        model="seg_unet",
        model_arguments=UNET,
        phases=(dataclasses.replace(SEG_UNET, loss="both"),),
        seeds=3,
    ),
    # Compared with seg_unet_scratch: VGG16 learned from a million photographs what objects look like; some thousand
    # masks cannot teach it. Two cores without AMX leave time for three epochs at 160 pixels.
    "seg_unet_vgg16_transpose": Segmentation(
        title="U-Net on VGG16, transposed",
        question="How much does an encoder with ImageNet weights contribute?",
        model="seg_unet_vgg16",
        model_arguments={**UNET_VGG16, "decoder": "transpose"},
        weights="imagenet",
        phases=SEG_VGG16,
    ),
    # Compared with seg_unet_vgg16_transpose, as are the two decoders of the book's network.
    "seg_unet_vgg16_bilinear": Segmentation(
        title="U-Net on VGG16, bilinear",
        question="Does bilinear up-sampling make a difference after a pretrained encoder?",
        model="seg_unet_vgg16",
        model_arguments={**UNET_VGG16, "decoder": "bilinear"},
        weights="imagenet",
        phases=SEG_VGG16,
    ),
    # The modified U-Net of TensorFlow's segmentation tutorial, compared with seg_unet_vgg16_transpose: a smaller
    # encoder, so that the cpu budget has time for more epochs and for three seeds. Its batch normalisation has a
    # momentum of 0.9 (see `hw2.models.mobilenet_v2`): with Keras' 0.999 the running statistics lag behind the weights
    # by thousands of steps, and an epoch has two hundred.
    "seg_unet_mobilenetv2_transpose": Segmentation(
        title="U-Net on MobileNetV2, transposed",
        question="What does a smaller pretrained encoder, as in TensorFlow's tutorial, change in quality and cost?",
        model="seg_unet_mobilenetv2",
        model_arguments={**UNET_MOBILENETV2, "decoder": "transpose"},
        weights="imagenet",
        phases=SEG_MOBILENETV2,
        seeds=3,
    ),
    # Compared with seg_unet_mobilenetv2_transpose: the comparison of the two decoders with several seeds, on a
    # pretrained encoder.
    "seg_unet_mobilenetv2_bilinear": Segmentation(
        title="U-Net on MobileNetV2, bilinear",
        question="Do transposed convolution and bilinear up-sampling differ by more than two seeds do?",
        model="seg_unet_mobilenetv2",
        model_arguments={**UNET_MOBILENETV2, "decoder": "bilinear"},
        weights="imagenet",
        phases=SEG_MOBILENETV2,
        seeds=3,
    ),
    # Compared with seg_unet_vgg16_bilinear: the same network has to name the objects as well. The decoder ends at a
    # quarter of the image's size, because 16 filters in a last step were too few for 21 classes. On the cpu budget, its
    # first phase has no augmentation, so that the maps of the frozen blocks 3, 4 and 5 can be cached; those of blocks 1
    # and 2 would take 16 GB more.
    "seg_unet_vgg16_classes": Segmentation(
        title="U-Net on VGG16, 21 classes",
        question="How well does the network tell all 21 classes apart?",
        num_classes=21,
        model="seg_unet_vgg16",
        model_arguments={**UNET_VGG16, "decoder": "bilinear", "decoder_filters": (96, 64)},
        weights="imagenet",
        phases=(
            dataclasses.replace(
                SEG_VGG16[0],
                epochs=ByBudget(cpu=10, gpu=2),
                joint=ByBudget(cpu=(), gpu=JOINT["joint"]),
                augment=ByBudget(cpu=(), gpu=JOINT["augment"]),
            ),
            SEG_VGG16[1],
        ),
    ),
    # Compared with seg_unet_mobilenetv2_bilinear: the same encoder on images of twice the size, which leave thin and
    # small parts visible, without a decoder at full size.
    "seg_mobilenetv2": Segmentation(
        title="light net on MobileNetV2",
        question="How good can a segmentation of the foreground get in an hour on two cores?",
        model="seg_mobilenetv2",
        model_arguments={**LIGHT_MOBILENETV2, "image_size": 320},
        weights="imagenet",
        phases=(SEG_MOBILENETV2[0], dataclasses.replace(SEG_LIGHT, epochs=ByBudget(cpu=20, gpu=6))),
        extras=("test_time_augmentation",),
    ),
    # Compared with seg_unet_vgg16_classes. Most classes have some tens of training images, cats and dogs a thousand, so
    # that images with rare classes are drawn more often.
    "seg_mobilenetv2_classes": Segmentation(
        title="light net on MobileNetV2, 21 classes",
        question="How much do longer training and seeing rare classes more often help with 21 classes?",
        num_classes=21,
        model="seg_mobilenetv2",
        model_arguments=LIGHT_MOBILENETV2,
        weights="imagenet",
        phases=tuple(
            dataclasses.replace(phase, sampling="repeat_factor")
            for phase in (SEG_MOBILENETV2[0], dataclasses.replace(SEG_LIGHT, epochs=ByBudget(cpu=16, gpu=8)))
        ),
        extras=("test_time_augmentation",),
    ),
}

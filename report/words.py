"""The words for each experiment, which text, figures and tables use in place of the names of runs."""

from hw2.experiments.schema import experiment_of

WORDS = {
    "vgg16_features_linear": "frozen VGG16, linear head",
    "vgg16_features_dense": "frozen VGG16, dense head",
    "vgg16_features_dense_bn": "frozen VGG16, normalised head",
    "vgg16_features_flip": "frozen VGG16, mirror images added",
    "vgg16_block5": "VGG16, block 5 tuned",
    "vgg16_block5_fast": "VGG16, block 5 at a high rate",
    "vgg16_block5_augment": "VGG16, block 5, augmented",
    "vgg16_full": "VGG16, all layers",
    "vgg16_full_augment": "VGG16, all layers, augmented",
    "vgg16_upsampled_features": "frozen VGG16, enlarged images",
    "vgg16_upsampled_full": "VGG16, all layers, enlarged images",
    "scratch_plain": "plain net",
    "scratch_bn": "batch normalisation added",
    "scratch_bn_augment": "augmentation added",
    "scratch_deep": "twice the depth",
    "scratch_residual": "residual net",
    "scratch_residual_shallow": "residual net, half the depth",
    "scratch_residual_constant": "residual net, constant rate",
    "scratch_residual_plateau": "residual net, plateau rule",
    "scratch_separable": "residual net, separable",
    "scratch_residual_10classes": "residual net, 10 classes",
    "scratch_residual_20classes": "residual net, 20 classes",
    "scratch_residual_50classes": "residual net, 50 classes",
    "scratch_whitened": "whitened net, recipe of the chain",
    "scratch_final": "final net",
    "scratch_final_48px": "final net, tuned on larger images",
    "scratch_final_longer": "final net, trained longer",
    "scratch_distilled": "final net, taught by three",
    "final_half": "half the final recipe",
    "final_without_augmentation": "half, without augmentation",
    "final_without_mixing": "half, without mixed images",
    "final_without_smoothing": "half, without label smoothing",
    "final_without_small_images": "half, without small images",
    "final_without_sgd": "half, AdamW instead of SGD",
    "final_without_whitening": "half, without whitening",
    "ensemble_scratch_final": "three final nets combined",
    "ensemble_mixed": "four different nets combined",
    "seg_baselines": "methods without training",
    "seg_book_transpose": "book's net, transposed",
    "seg_book_bilinear": "book's net, bilinear",
    "seg_unet_scratch": "U-Net, cross-entropy",
    "seg_unet_scratch_dice": "U-Net, Dice loss",
    "seg_unet_scratch_both": "U-Net, both losses",
    "seg_unet_vgg16_transpose": "U-Net on VGG16, transposed",
    "seg_unet_vgg16_bilinear": "U-Net on VGG16, bilinear",
    "seg_unet_mobilenetv2_transpose": "U-Net on MobileNetV2, transposed",
    "seg_unet_mobilenetv2_bilinear": "U-Net on MobileNetV2, bilinear",
    "seg_mobilenetv2": "light net on MobileNetV2",
    "seg_mobilenetv2_classes": "light net on MobileNetV2, 21 classes",
    "seg_unet_vgg16_classes": "U-Net on VGG16, 21 classes",
}


def word(run):
    """Return the words for a run; those of a later seed end with it. A run outside the table keeps its name."""
    name = experiment_of(run)
    return WORDS.get(name, name.replace("_", " ")) + run.removeprefix(name).replace("-seed", ", seed ")

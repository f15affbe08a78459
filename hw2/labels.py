"""Names of classes and superclasses, and the PASCAL VOC palette: plain data, no TensorFlow."""

import numpy as np

# CIFAR-100: each superclass with its five classes (Krizhevsky, "Learning Multiple Layers of Features from Tiny
# Images", 2009). The official label numbers are the alphabetical positions of the names.
CIFAR100 = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}

CIFAR100_CLASSES = tuple(sorted(name for names in CIFAR100.values() for name in names))
CIFAR100_SUPERCLASSES = tuple(CIFAR100)

# (100,) int64: the superclass of each class
CIFAR100_SUPERCLASS_OF = np.array(
    [next(i for i, names in enumerate(CIFAR100.values()) if name in names) for name in CIFAR100_CLASSES]
)

# PASCAL VOC: index 0 is background; 255 marks the border between objects, which no loss or metric counts.
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv/monitor"),
)
VOID = 255
VOC_PAIRS = {"train": 1464, "val": 1449}  # photographs with masks in the complete lists of VOC 2012


def voc_palette():
    """Return the (256, 3) uint8 colours of the labels: their bits go in turn to red, green and blue, highest first.

    Source: `VOClabelcolormap.m` of the PASCAL VOC 2012 development kit.
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((labels >> channel) & 1) << (7 - bit)
        labels >>= 3
    return palette.astype(np.uint8)


VOC_PALETTE = voc_palette()

"""Networks of `hw2.models` and their training step in plain PyTorch, for `benchmark.py`: equal layers and parameters.

Each class takes the arguments of the builder of the same name and maps images (batch, 3, height, width), RGB from 0 to
255, to logits. Strided layers pad on both sides, as is usual in PyTorch, where Keras pads on one: maps and costs are
equal. PyTorch is an extra: `pip install -e '.[bench]'`.
"""

import keras
import torch
import torch.nn.functional as F
from torch import nn

from hw2.labels import VOID
from hw2.models.registry import VGG16_BLOCKS
from hw2.models.scratch import CIFAR100_DEVIATION, CIFAR100_MEAN


def convolution(channels, filters, size=3, **arguments):
    return nn.Conv2d(channels, filters, size, padding=size // 2, bias=False, **arguments)


def convolution_unit(channels, filters, pool=False):
    """Return a convolution, optionally max pooling, batch normalisation and ReLU."""
    pooling = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(convolution(channels, filters), *pooling, nn.BatchNorm2d(filters), nn.ReLU(inplace=True))


class Normalization(nn.Module):
    """Maps the channels of CIFAR-100 to mean 0 and variance 1, at the size that the network sees."""

    def __init__(self, image_size):
        super().__init__()
        self.image_size = image_size
        for name, values in (("mean", CIFAR100_MEAN), ("deviation", CIFAR100_DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images):
        if self.image_size != images.shape[-1]:
            images = F.interpolate(images, size=self.image_size, mode="bilinear")
        return (images - self.mean) / self.deviation


class ResidualUnit(nn.Module):
    def __init__(self, channels, filters):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = convolution(channels, filters)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = convolution(channels, filters, 1) if channels != filters else None
        self.conv2 = convolution(filters, filters)

    def forward(self, x):
        activated = F.relu(self.bn1(x))
        shortcut = self.shortcut(activated) if self.shortcut else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(activated))))


class ScratchClassifier(nn.Module):
    """The residual form of `hw2.models.scratch.scratch_classifier`."""

    def __init__(self, num_classes, *, image_size, stem_filters, filters, units, **_):
        super().__init__()
        parts, channels = [Normalization(image_size), convolution(3, stem_filters)], stem_filters
        for count in filters:
            parts.append(nn.MaxPool2d(2))
            for _ in range(units):
                parts.append(ResidualUnit(channels, count))
                channels = count
        parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.layers = nn.Sequential(*parts, nn.Linear(channels, num_classes))

    def forward(self, images):
        return self.layers(images)


class WhitenedClassifier(nn.Module):
    """`hw2.models.scratch.whitened_classifier`, whose first filters are fixed."""

    def __init__(self, num_classes, *, image_size, filters, units, **_):
        super().__init__()
        stem = nn.Conv2d(3, 24, 2, bias=False).requires_grad_(False)
        parts, channels = [Normalization(image_size), stem, nn.ReLU(inplace=True)], 24
        for count in filters:
            for unit in range(units):
                parts.append(convolution_unit(channels, count, pool=unit == 0))
                channels = count
        self.layers = nn.Sequential(*parts, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, images):
        return self.layers(images)


class VGG16Classifier(nn.Module):
    """`hw2.models.vgg16.vgg16_classifier` with the head "dense_bn".

    first: name of the first block; without the earlier ones, the network takes their outputs.
    """

    def __init__(self, num_classes, *, image_size, dropout, first="block1", **_):
        super().__init__()
        mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        self.register_buffer("mean", mean, persistent=False)
        self.image_size, self.takes_images = image_size, first == "block1"
        parts, channels, reached = [], 3, False
        for block, (convolutions, filters) in VGG16_BLOCKS.items():
            reached = reached or block == first
            for _ in range(convolutions):
                if reached:
                    parts += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
                channels = filters
            parts += [nn.MaxPool2d(2)] if reached else []
        self.base = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(
            nn.BatchNorm1d(channels),
            nn.Linear(channels, 1024, bias=False),
            nn.BatchNorm1d(1024),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(1024, num_classes),
        )

    def preprocess(self, images):
        """Return the input of the first block: blue, green, red, minus their means, at the size that it sees."""
        x = images.flip(1) - self.mean
        return x if self.image_size == 32 else F.interpolate(x, size=self.image_size, mode="bilinear")

    def forward(self, x):
        return self.head(self.base(self.preprocess(x) if self.takes_images else x))


class InvertedResidual(nn.Module):
    """A block of MobileNetV2. `expanded` is its map before the depthwise convolution, which a U-Net uses as a skip."""

    def __init__(self, channels, filters, stride, expansion):
        super().__init__()
        wide = channels * expansion
        unit = [convolution(channels, wide, 1), nn.BatchNorm2d(wide), nn.ReLU6()]
        self.expand = nn.Sequential(*unit) if expansion > 1 else None
        self.project = nn.Sequential(
            convolution(wide, wide, stride=stride, groups=wide),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            convolution(wide, filters, 1),
            nn.BatchNorm2d(filters),
        )
        self.adds = stride == 1 and channels == filters

    def forward(self, x):
        expanded = self.expand(x) if self.expand else x
        projected = self.project(expanded)
        return (x + projected if self.adds else projected), expanded


# filters, stride and expansion of each block, of which those in SKIPS give the skips
MOBILENETV2 = (
    *[(16, 1, 1), (24, 2, 6), (24, 1, 6), (32, 2, 6), (32, 1, 6), (32, 1, 6)],
    *[(64, 2, 6), (64, 1, 6), (64, 1, 6), (64, 1, 6), (96, 1, 6), (96, 1, 6), (96, 1, 6)],
    *[(160, 2, 6), (160, 1, 6), (160, 1, 6), (320, 1, 6)],
)
SKIPS = (13, 6, 3, 1)


class MobileNetV2UNet(nn.Module):
    """`hw2.models.mobilenet_v2.seg_unet_mobilenetv2` with transposed convolutions.

    The last block's projection has no batch normalisation, as there.
    """

    def __init__(self, num_classes, *, decoder_filters, **_):
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 32, stride=2), nn.BatchNorm2d(32), nn.ReLU6())
        self.blocks, channels, widths = nn.ModuleList(), 32, []
        for filters, stride, expansion in MOBILENETV2:
            widths.append(channels * expansion)
            self.blocks.append(InvertedResidual(channels, filters, stride, expansion))
            channels = filters
        self.blocks[-1].project[-1] = nn.Identity()
        self.up, self.convolutions = nn.ModuleList(), nn.ModuleList()
        for block, filters in zip(SKIPS, decoder_filters, strict=True):
            up = nn.ConvTranspose2d(channels, filters, 3, 2, padding=1, output_padding=1, bias=False)
            self.up.append(nn.Sequential(up, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)))
            self.convolutions.append(convolution_unit(filters + widths[block], filters))
            channels = filters
        last = nn.ConvTranspose2d(channels, channels // 2, 3, 2, padding=1, output_padding=1)
        outputs = 1 if num_classes == 2 else num_classes
        self.logits = nn.Sequential(last, nn.ReLU(inplace=True), nn.Conv2d(channels // 2, outputs, 3, padding=1))

    def freeze(self, blocks):
        """Freeze the stem and the first blocks, whose batch normalisation then uses its running statistics."""
        for part in (self.stem, *self.blocks[:blocks]):
            part.requires_grad_(False).eval()

    def forward(self, images):
        x, skips = self.stem(images / 127.5 - 1), {}
        for number, block in enumerate(self.blocks):
            x, skips[number] = block(x)
        for block, up, unit in zip(SKIPS, self.up, self.convolutions, strict=True):
            x = unit(torch.cat([up(x), skips[block]], 1))
        return self.logits(x)


NETWORKS = {
    "scratch_classifier": ScratchClassifier,
    "whitened_classifier": WhitenedClassifier,
    "vgg16_classifier": VGG16Classifier,
    "seg_unet_mobilenetv2": MobileNetV2UNet,
}
FROZEN_BLOCKS = {"block_6": 6}  # of MobileNetV2, before the stage that a phase trains first


def build(config, **arguments):
    """Return the network of a configuration, in the memory format that is fastest on a CPU."""
    network = NETWORKS[config["model"]](config["data"]["classes"], **config["model_arguments"], **arguments)
    return network.to(memory_format=torch.channels_last)


def count_parameters(network):
    """Return the number of parameters as Keras counts them: those of normalisation include its running statistics."""
    return sum(tensor.numel() for name, tensor in network.state_dict().items() if not name.endswith("batches_tracked"))


def autocast():
    """Return a context that computes in the 16-bit format of the Keras dtype policy, if it has one."""
    precision = keras.config.dtype_policy().compute_dtype
    return torch.autocast("cpu", getattr(torch, precision), enabled=precision != "float32")


def training_step(config, phase, **arguments):
    """Return a function that trains for one step as a phase does: same loss, optimizer and metric, constant rate.

    arguments: of the network beside those of the configuration. The function takes a batch as NumPy arrays, channels
    last, and returns the loss.
    """
    network = build(config, **arguments).train()
    if phase.trainable in FROZEN_BLOCKS:
        network.freeze(FROZEN_BLOCKS[phase.trainable])
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": phase.weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    if phase.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, phase.learning_rate, momentum=0.9, nesterov=True, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, phase.learning_rate, fused=True)
    judge = classified if config["task"] == "classification" else segmented

    def step(inputs, targets):
        images, targets = torch.from_numpy(inputs).permute(0, 3, 1, 2), torch.from_numpy(targets)
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            logits = network(images)
        loss = judge(logits.float(), targets, phase)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def classified(logits, targets, phase):
    """Return the loss of a batch, and compute its accuracy, as Keras does in every step."""
    (logits.argmax(1) == targets.argmax(1)).float().mean().item()
    return F.cross_entropy(logits, targets, label_smoothing=phase.label_smoothing)


def segmented(logits, masks, phase):
    """Return the binary cross-entropy of a batch over the labelled pixels, and compute its overlap."""
    valid, logits = masks != VOID, logits[:, 0]
    foreground, predicted = (masks > 0) & valid, (logits > 0) & valid
    ((predicted & foreground).sum() / (predicted | foreground).sum()).item()
    values = F.binary_cross_entropy_with_logits(logits, foreground.float(), reduction="none")
    return (values * valid).sum() / valid.sum().clamp(min=1)


def vgg16_features(config, batch_size=250):
    """Return a function from images (n, 32, 32, 3) to the outputs (n, 512) of VGG16's blocks, in batches."""
    network = build(config).eval()

    @torch.inference_mode()
    def features(images):
        parts = []
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size]).float().permute(0, 3, 1, 2)
            with autocast():
                parts.append(network.base(network.preprocess(batch)).float())
        return torch.cat(parts).numpy()

    return features

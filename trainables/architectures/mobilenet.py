"""MobileNetV2 for small images."""

from __future__ import annotations

from torch import nn
from torchvision.models import mobilenet_v2

from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.ends import see

# Expansion, channels, blocks, stride: table 2 of Sandler et al. 2018 with the second stage at stride 1.
STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def mobilenet_v2_cifar(input_shape: Shape, num_classes: int, width: float = 1.0) -> nn.Module:
    """Build torchvision's MobileNetV2 with the first two strides at 1: [N, C, H, W] -> [N, num_classes].

    Sandler et al. 2018 in the common CIFAR form: 32x32 images become maps of 4x4. ReLU6, dropout and
    initialisation are torchvision's. `width` multiplies all channels.
    """
    model = mobilenet_v2(num_classes=num_classes, width_mult=width, inverted_residual_setting=STAGES)
    model.features[0][0].stride = (1, 1)
    return see(model, input_shape[0])


MOBILENETS = {
    "mobilenet-v2-cifar": Architecture(
        mobilenet_v2_cifar, "MobileNetV2 with strides for CIFAR", min_size=9, init="grasp"
    )
}

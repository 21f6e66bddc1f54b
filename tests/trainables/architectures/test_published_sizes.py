"""Parameters, multiply-accumulates and prunable layers of every architecture, against the literature."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torchvision.models import get_model_weights

from pruners import prunable
from pruners.channels import trace_channels
from trainables.architectures import build
from trainables.profiling import macs

MNIST, CIFAR, TINY, IMAGENET = ((1, 28, 28), 10), ((3, 32, 32), 10), ((3, 64, 64), 200), ((3, 224, 224), 1000)


@dataclass(frozen=True)
class Size:
    """What is published; 0 where it is not. Parameters and MACs in millions, as rounded as the source has them."""

    data: tuple[tuple[int, int, int], int]
    layers: int
    exact: int  # parameters, ours: what the published number is rounded from
    params: float
    macs: float
    source: str


HE = "He et al. 2016, table 6; MACs where given: Lin et al. 2020 (HRank), with zero-padded shortcuts"
SYNFLOW = "layer list of the published SynFlow program (Tanaka et al. 2020), counted by hand"
SLIM = "Liu et al. 2017 (network slimming), table 1: FLOPs = 2 MACs"
KUANGLIU = "layer list of kuangliu/pytorch-cifar, counted by hand"
TORCHVISION = "torchvision's model table, num_params and GFLOPS"
SNIP = "VGG-D of namhoonlee/snip-public f028496, snip/network.py, counted by hand"
WRN = "Zagoruyko and Komodakis 2016: parameters grow with the square of the width"

PUBLISHED = {
    "mlp": Size(MNIST, 6, 119_910, 0.12, 0.1194, SYNFLOW),
    "conv": Size(CIFAR, 3, 337_834, 0.338, 10.65, SYNFLOW),
    "resnet20": Size(CIFAR, 22, 272_474, 0.27, 0, HE + "; 22 layers: SynFlow program"),
    "resnet32": Size(CIFAR, 34, 466_906, 0.46, 0, HE),
    "resnet44": Size(CIFAR, 46, 661_338, 0.66, 0, HE),
    "resnet56": Size(CIFAR, 58, 855_770, 0.85, 125.49, HE),
    "resnet110": Size(CIFAR, 112, 1_730_714, 1.73, 252.89, HE),
    "resnet1202": Size(CIFAR, 1204, 19_424_026, 19.4, 0, HE),
    "wide-resnet20": Size(CIFAR, 22, 1_084_586, 1.09, 0, WRN),
    "wide-resnet32": Size(CIFAR, 34, 1_860_522, 1.86, 0, "Wang et al. 2020 (GraSP): ResNet-32 with twice the filters"),
    "wide-resnet44": Size(CIFAR, 46, 2_636_458, 2.64, 0, WRN),
    "wide-resnet56": Size(CIFAR, 58, 3_412_394, 3.41, 0, WRN),
    "wide-resnet110": Size(CIFAR, 112, 6_904_106, 6.9, 0, WRN),
    "wide-resnet1202": Size(CIFAR, 1204, 77_514_282, 77.5, 0, WRN),
    "vgg11": Size(CIFAR, 9, 9_225_610, 9.2, 152.8, SYNFLOW),
    "vgg11-bn": Size(CIFAR, 9, 9_231_114, 9.2, 152.8, KUANGLIU),
    "vgg13": Size(CIFAR, 11, 9_410_122, 9.4, 228.3, SYNFLOW),
    "vgg13-bn": Size(CIFAR, 11, 9_416_010, 9.4, 228.3, KUANGLIU),
    "vgg16": Size(CIFAR, 14, 14_719_818, 14.7, 313.2, "COS 598D: 313.48 M with one per bias; 14 layers: SynFlow data"),
    "vgg16-bn": Size(
        CIFAR, 14, 14_728_266, 14.7, 313.2, "COS 598D: 313.48 M with one per bias; 14 layers: SynFlow data"
    ),
    "vgg19": Size(CIFAR, 17, 20_029_514, 20.03, 398.5, SLIM),
    "vgg19-bn": Size(CIFAR, 17, 20_040_522, 20.04, 398.5, SLIM),
    "vgg11-tiny": Size(TINY, 11, 12_573_256, 12.57, 614.4, SYNFLOW),
    "vgg11-bn-tiny": Size(TINY, 11, 12_578_760, 12.58, 614.4, SYNFLOW),
    "vgg13-tiny": Size(TINY, 13, 12_757_768, 12.76, 916.4, SYNFLOW),
    "vgg13-bn-tiny": Size(TINY, 13, 12_763_656, 12.76, 916.4, SYNFLOW),
    "vgg16-tiny": Size(TINY, 16, 18_067_464, 18.07, 1256.1, SYNFLOW),
    "vgg16-bn-tiny": Size(TINY, 16, 18_075_912, 18.08, 1256.1, SYNFLOW),
    "vgg19-tiny": Size(TINY, 19, 23_377_160, 23.38, 1595.9, SYNFLOW),
    "vgg19-bn-tiny": Size(TINY, 19, 23_388_168, 23.39, 1595.9, SYNFLOW),
    "vgg16-bn-snip": Size(CIFAR, 16, 15_255_626, 15.2, 313.7, SNIP),
    "resnet18": Size(IMAGENET, 21, 11_689_512, 11.69, 1814, TORCHVISION),
    "resnet34": Size(IMAGENET, 37, 21_797_672, 21.80, 3664, TORCHVISION),
    "resnet50": Size(IMAGENET, 54, 25_557_032, 25.56, 4089, TORCHVISION),
    "resnet101": Size(IMAGENET, 105, 44_549_160, 44.55, 7801, TORCHVISION),
    "resnet152": Size(IMAGENET, 156, 60_192_808, 60.19, 11514, TORCHVISION),
    "resnet18-cifar": Size(CIFAR, 21, 11_173_962, 11.17, 555.4, KUANGLIU),
    "resnet34-cifar": Size(CIFAR, 37, 21_282_122, 21.28, 1159.4, KUANGLIU),
    "resnet50-cifar": Size(CIFAR, 54, 23_520_842, 23.52, 1297.8, KUANGLIU),
    "resnet101-cifar": Size(CIFAR, 105, 42_512_970, 42.51, 2510, KUANGLIU),
    "resnet152-cifar": Size(CIFAR, 156, 58_156_618, 58.16, 3722, KUANGLIU),
    "wide-resnet18-cifar": Size(CIFAR, 22, 44_595_786, 44.6, 0, WRN),
    "wide-resnet34-cifar": Size(CIFAR, 38, 85_013_578, 85.0, 0, WRN),
    "wide-resnet50-cifar": Size(
        CIFAR, 54, 66_847_050, 66.85, 0, "torchvision's wide_resnet50_2, 68.88 M, less 990 classes"
    ),
    "wide-resnet101-cifar": Size(
        CIFAR, 105, 124_850_506, 124.85, 0, "torchvision's wide_resnet101_2, 126.89 M, likewise"
    ),
    "wide-resnet152-cifar": Size(CIFAR, 156, 172_622_154, 172.6, 0, WRN),
    "mobilenet-v2-cifar": Size(
        CIFAR, 53, 2_236_682, 2.24, 88.0, "torchvision's mobilenet_v2, 3.50 M, less 990 classes"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones_and_all_layers_are_followed(name):
    size = PUBLISHED[name]
    shape, classes = size.data
    with torch.device("meta"):
        model = build(name, shape, classes, seed=0)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == size.exact
    # A source that says 1.7 M means 1.65 to 1.75; some cut where others round, hence a whole last digit.
    assert parameters / 1e6 == pytest.approx(size.params, rel=0.02), size.source
    assert len(prunable(model)) == len(trace_channels(model).inputs) == size.layers, size.source
    if size.macs:
        of_weights = sum(weights for weights, _ in macs(model, shape).values())
        assert of_weights / 1e6 == pytest.approx(size.macs, rel=0.005), size.source


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_the_imagenet_residual_networks_are_torchvisions(depth):
    meta = get_model_weights(f"resnet{depth}").DEFAULT.meta
    size = PUBLISHED[f"resnet{depth}"]
    assert size.exact == meta["num_params"]
    assert size.macs / 1000 == pytest.approx(meta["_ops"], abs=0.01)


def test_a_wide_network_has_nearly_four_times_the_parameters():
    for name in (name for name in PUBLISHED if name.startswith("wide-resnet") and "resnet5" not in name):
        narrow = PUBLISHED[name.removeprefix("wide-")].exact
        assert 2.5 < PUBLISHED[name].exact / narrow < 4.05


def test_vgg16_of_the_cos598d_tables_costs_313_478_154():
    """Their FLOPs: an output element costs one for each of its weights, and one for its bias."""
    with torch.device("meta"):
        model = build("vgg16", (3, 32, 32), 10, seed=0)
    assert sum(map(sum, macs(model, (3, 32, 32)).values())) == 313_478_154

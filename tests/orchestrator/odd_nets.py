"""Odd networks for digits (1x8x8 images, 10 classes): each is planned, and runs or is refused in one line."""

import random
from collections import namedtuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Outputs = namedtuple("Outputs", ["logits", "aux"])


def plain(shape, classes, width=8):
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes),
    )  # fmt: skip


class Around(nn.Module):
    """A network with something done around it, by a function of it and its input."""

    def __init__(self, shape, classes, act):
        super().__init__()
        self.net, self.act = plain(shape, classes), act

    def forward(self, x):
        return self.act(self, x)


def around(act):
    return lambda shape, classes: Around(shape, classes, act)


def changed(change):
    def build(shape, classes):
        model = plain(shape, classes)
        found = change(model)
        return model if found is None else found

    return build


# --- these run ---


def cumulative(shape, classes):
    model = plain(shape, classes)
    model[1] = nn.BatchNorm2d(8, momentum=None)
    return model


def _bare_zeros(m, x):
    return m.net(x) + torch.zeros(len(x), 10)


def _by_value(m, x):
    return m.net(x[x.sum((1, 2, 3)) != torch.inf])


asks = around(lambda m, x: m.net(x / 100 if float(x.abs().max()) > 100 else x))
items = around(lambda m, x: m.net(x) * (1.0 if x.sum().item() < 1e9 else 0.0))
bare_zeros = around(_bare_zeros)
with_numpy = around(lambda m, x: m.net(x + torch.from_numpy(np.zeros(x.shape, np.float32))))
by_value = around(_by_value)
backbone_without_grad = around(lambda m, x: m.net[8](_detached(m, x)))


def _detached(m, x):
    with torch.no_grad():
        return m.net[:8](x)


def frozen(shape, classes):
    model = plain(shape, classes)
    model[:6].requires_grad_(False)
    return model


def tied(shape, classes):
    model = plain(shape, classes)
    model[3] = nn.Conv2d(8, 8, 3, padding=1)
    model.insert(4, nn.Conv2d(8, 8, 3, padding=1))
    model[4].weight = model[3].weight
    return model


def lazy(shape, classes):
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))


class LazyInTraining(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.net, self.more, self.norm = plain(shape, classes), nn.LazyLinear(classes, bias=False), nn.LazyBatchNorm1d()
        self.norm_in = nn.BatchNorm1d(64)

    def forward(self, x):
        logits = self.net(x)
        return logits + 0 * self.norm(self.more(self.norm_in(x.flatten(1)))) if self.training else logits


def parallel(shape, classes):
    return nn.DataParallel(plain(shape, classes))


def parallel_inside(shape, classes):
    model = plain(shape, classes)
    return nn.Sequential(nn.DataParallel(model[:8]), model[8])


def from_numpy_draws(shape, classes):
    model = plain(shape, classes)
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(np.random.randn(*model[0].weight.shape)))
        model[3].bias.fill_(random.random())
    return model


def sets_everything(shape, classes):
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    torch.set_num_threads(3)
    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = True
    torch.set_default_dtype(torch.float64)
    return plain(shape, classes).float()


class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.net = plain(shape, classes)
        self.spare = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.net(x)

    def train(self, mode=True):
        super().train(mode)  # and returns nothing, as many do


# --- these are refused ---

tuple_in_eval = around(lambda m, x: m.net(x) if m.training else (m.net(x), x))
tuple_in_train = around(lambda m, x: Outputs(m.net(x), x) if m.training else m.net(x))
mapping = around(lambda m, x: {"logits": m.net(x)})
classes_only = around(lambda m, x: m.net(x).argmax(1))
whole_numbers = around(lambda m, x: m.net(x).long())
flat = around(lambda m, x: m.net(x).flatten())
complex_logits = around(lambda m, x: m.net(x).to(torch.complex64))
no_gradient = around(lambda m, x: m.net(x).detach())
never_finite = around(lambda m, x: m.net(x) / 0)
dies_in_eval = around(lambda m, x: m.net(x) if m.training else 1 / 0)
leaves = around(lambda m, x: raise_exit())
all_frozen = changed(lambda m: m.requires_grad_(False))
halved = changed(lambda m: m.half())
doubled = changed(lambda m: m.double())
no_parameters = lambda shape, classes: nn.Flatten()  # noqa: E731
nothing = lambda shape, classes: None  # noqa: E731
the_class = lambda shape, classes: Net  # noqa: E731
a_list = lambda shape, classes: [plain(shape, classes)]  # noqa: E731
on_meta = lambda shape, classes: plain(shape, classes).to("meta")  # noqa: E731
exits = lambda shape, classes: raise_exit()  # noqa: E731
fails = lambda shape, classes: 1 / 0  # noqa: E731


def raise_exit():
    raise SystemExit("bye")


def complex_weights(shape, classes):
    model = plain(shape, classes)
    model[0].register_parameter("phase", nn.Parameter(torch.zeros(3, dtype=torch.complex64)))
    return model


def whole_weights(shape, classes):
    model = plain(shape, classes)
    model[0].register_parameter("table", nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False))
    return model


def views(shape, classes):
    model = plain(shape, classes)
    model[3].bias = nn.Parameter(model[0].bias.data[:4].repeat(2))
    model[1].bias = nn.Parameter(model[4].bias.data)
    return model


def columns(shape, classes):
    """Parameters of one storage that do not overlap: these run."""
    model, both = plain(shape, classes), torch.randn(8, 2)
    model[0].bias, model[3].bias = nn.Parameter(both[:, 0]), nn.Parameter(both[:, 1])
    return model


def expanded(shape, classes):
    model = plain(shape, classes)
    model[0].bias = nn.Parameter(torch.zeros(1).expand(8))
    return model


class Extra(nn.Linear):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


def extra_state(shape, classes):
    model = plain(shape, classes)
    model[8] = Extra(8, classes)
    return model


class MadeLate(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.net, self.classes = nn.Linear(64, 20), classes

    def forward(self, x):
        x = self.net(x.flatten(1))
        if not hasattr(self, "head"):
            self.head = nn.Linear(x.shape[1], self.classes)
        return self.head(x)


def lazy_and_unused(shape, classes):
    model = Net(shape, classes)
    model.other = nn.LazyLinear(3)
    return model


def drawn_elsewhere(shape, classes):
    model = plain(shape, classes)
    model[0].weight.data.add_(float(np.random.default_rng().random()) + 1)
    return model


class Heads(nn.Module):
    """A network with a large head that is used never, or in one mode."""

    def __init__(self, shape, classes, when):
        super().__init__()
        self.net, self.head, self.when = plain(shape, classes), nn.Linear(64, classes), when

    def forward(self, x):
        logits = self.net(x)
        return logits + self.head(x.flatten(1)) if self.training and self.when == "training" else logits


idle = lambda shape, classes: Heads(shape, classes, "never")  # noqa: E731
in_training = lambda shape, classes: Heads(shape, classes, "training")  # noqa: E731


def shrinks(shape, classes):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8, classes)
    )


def sliced(shape, classes):
    return nn.Sequential(Half(), nn.Linear(64, classes))


class Half(nn.Module):
    def forward(self, x):
        return F.pad(x.flatten(1)[:, :32], (0, 32))

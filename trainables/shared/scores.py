"""Scores that do not depend on the compression: computed once for all trials of a sweep that select by them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruners import prunable
from search_spaces import Trial
from trainables.context import Place
from trainables.record.checkpoint import read_or_set_aside
from trainables.record.files import held, write_atomically

Scores = dict[str, Tensor]


def shared(trial: Trial, place: Place, model: nn.Module, compute: Callable[[], Scores]) -> Scores:
    """Return the scores of `trial` for its `model`: those in the storage, else those of `compute`, which it stores.

    Both are the same to the bit. If several trials need them at once, one computes and the others wait, no longer than
    they would compute themselves. It stores only scores that other trials of the sweep need too
    (`place.shared_scores`), separately for each kind of device: another kind sums in another order, which changes some
    masks by a few per cent.
    """
    if trial.scoring not in place.shared_scores:
        return compute()
    file = place.scores / f"{trial.scoring}-{kind_of_device(next(model.parameters()).device)}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(file.with_suffix(".lock")):
        known = read_or_set_aside(file, lambda: load_file(file))
        if known is None:
            scores = compute()
            plain = {name: score.cpu().contiguous() for name, score in scores.items()}
            with suppress(OSError):  # a full disk: the other trials compute them too
                write_atomically(file, lambda path: save_file(plain, path))
            return scores
    # In the memory format of computed scores, so that sums over them are the same to the bit too.
    return {
        name: torch.empty_like(weight, dtype=known[name].dtype).copy_(known[name])
        for name, weight in prunable(model).items()
    }


def kind_of_device(device: torch.device) -> str:
    """Return a name for the kind of `device`, which computes alike, fit for a file name: "cpu", "NVIDIA-H200"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")

"""Export a trial's trained model as one file: the smaller dense network that computes the same.

python -m trainables.export FOLDER OUT.safetensors      # or OUT.onnx; FOLDER: a trial's, or its artifacts

The model takes images [N, C, H, W], normalised as in training: (pixel / 255 - mean) / std per channel. The file's
metadata contains mean and std, and the whole record of the trial.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruners import compact, prunable, refit
from pruners.errors import message_of
from search_spaces import Trial
from trainables.architectures import build
from trainables.datasets import DatasetSpec, lookup
from trainables.record.files import write_atomically
from trainables.shared.pretraining import WEIGHTS
from trainables.versions import is_installed

OPSET = 18  # ONNX: the oldest that torch's exporter writes without conversion, so most runtimes can read it
FORMATS = (".safetensors", ".onnx")


class ExportError(ValueError):
    """A model cannot be exported or loaded: one line that names the file and what was expected."""


@dataclass(frozen=True)
class Trained:
    """Trained model of a trial, compacted, on the CPU and in eval mode."""

    trial: Trial
    model: nn.Module
    data: DatasetSpec
    params: int  # number of parameters before compaction
    reason: str  # why the model was not compacted; "" if it was

    @property
    def facts(self) -> dict[str, str]:
        """Metadata of an exported file: JSON, or plain text for single words and numbers."""
        channels = {name: list(weight.shape[:2]) for name, weight in prunable(self.model).items()}
        return {
            "trial": self.trial.model_dump_json(exclude_defaults=True),
            "input_shape": json.dumps(self.data.input_shape),
            "num_classes": str(self.data.num_classes),
            "mean": json.dumps(self.data.mean),
            "std": json.dumps(self.data.std),
            "channels": json.dumps(channels),  # per layer: output channels, input channels per group
            "not_compacted": self.reason,
        }


def trained_model(folder: Path) -> Trained:
    """Return the model that the trial of `folder` trained; `results/checkpoints/<fingerprint>` or its artifacts.

    Raises:
        ValueError: in one line, if a file is missing (large trained weights are not kept) or has wrong contents.
    """
    try:
        trial = Trial.model_validate_json(_there(folder, "trial.json", "it is not a trial's folder").read_bytes())
    except ValidationError as error:
        raise ExportError(f"{folder / 'trial.json'}: not a trial's record: {error.errors()[0]['msg']}") from None
    why = "the trial has not finished, or its trained weights were too large to keep (a sweep keeps 1 GB in all)"
    weights = _tensors(_there(folder, WEIGHTS, why))
    masks = _tensors(_there(folder, "masks.safetensors", "the trial has not pruned yet"))
    data = lookup(trial.dataset, folder.parent.parent / "data")
    model = _whole(trial, data.input_shape, data.num_classes)
    try:
        model.load_state_dict(weights)
        small = compact(model, masks, data.input_shape)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"{folder}: these are not the files of {trial.name}: {message_of(error)[:300]}") from None
    params = sum(parameter.numel() for parameter in model.parameters())
    return Trained(trial, small.model.eval(), data, params, small.reason)


def save(made: Trained, out: Path) -> None:
    """Write the model to `out`, in the format of its suffix.

    Raises:
        ValueError: for any other suffix, or if the packages for ONNX are not installed.
    """
    if out.suffix == ".onnx":
        save_onnx(made.model, made.data.input_shape, made.facts, out)
    elif out.suffix == ".safetensors":
        # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
        state = {name: tensor.contiguous().clone() for name, tensor in made.model.state_dict().items()}
        write_atomically(out, lambda path: save_file(state, path, metadata=made.facts))
    else:
        raise ExportError(f"{out}: '{out.suffix}' is not allowed; the file must end in {' or '.join(FORMATS)}")


def save_onnx(model: nn.Module, input_shape: tuple[int, int, int], facts: Mapping[str, str], out: Path) -> None:
    """Write `model`, in eval mode, as ONNX: input `images` [N, C, H, W] with any N, output `logits` [N, classes].

    `facts` become the file's metadata.

    Raises:
        ValueError: in one line, if the packages are not installed or torch cannot translate the model.
    """
    missing = [name for name in ("onnx", "onnxscript") if not is_installed(name)]
    if missing:
        raise ValueError(f"{out}: {' and '.join(missing)} not installed; pip install onnx onnxscript")
    example = torch.zeros(2, *input_shape)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torch prints its progress
            program = torch.onnx.export(
                model,
                (example,),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # noqa: BLE001 - a forward that cannot be traced may raise anything
        raise ValueError(f"{out}: torch cannot translate this model: {message_of(error)[:300]}") from None
    assert program is not None
    program.model.metadata_props.update(facts)
    write_atomically(out, lambda path: program.save(path, external_data=False))


def load(path: Path | str, model: nn.Module | None = None) -> nn.Module:
    """Return the model of an exported `.safetensors` file, in eval mode: [N, C, H, W] -> logits [N, classes].

    The model is a plain module: it is built by the name of its architecture, cut to the sizes in the file, and filled
    with the file's weights. No code of the file is run. If the architecture was a user's own file, pass the whole
    `model`, built as in the trial; it is cut and filled in place.

    Raises:
        ValueError: if the file cannot be read, was not written by this module, or `model` is needed and missing.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if model is None:
            trial = Trial.model_validate_json(facts["trial"])
            if trial.architecture_code:
                raise ExportError(f"{path}: '{trial.architecture}' is not built in; build it and pass it as `model`")
            channels, height, width = json.loads(facts["input_shape"])
            model = _whole(trial, (channels, height, width), int(facts["num_classes"]))
        refit(model, state)
    except ExportError:
        raise
    except KeyError as error:
        raise ExportError(f"{path}: its metadata has no {error}; it was not written by trainables.export") from None
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise ExportError(f"{path}: cannot be loaded: {message_of(error)[:300]}") from None
    return model.eval()


def _whole(trial: Trial, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    # Any initial weights will do, because they are about to be replaced.
    return build(trial.network.fresh, input_shape, num_classes, trial.seed)


def _there(folder: Path, name: str, why: str) -> Path:
    if not (folder / name).is_file():
        raise ExportError(f"{folder}: there is no {name}: {why}")
    return folder / name


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file}: cannot be read: {message_of(error)[:300]}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 if the model cannot be exported or written."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m trainables.export", description=lines[0])
    parser.add_argument("folder", type=Path, help="results/checkpoints/<fingerprint>, or a trial's artifacts")
    parser.add_argument("out", type=Path, help=f"the file to write; its ending sets the format: {' or '.join(FORMATS)}")
    given = parser.parse_args(arguments)
    try:
        made = trained_model(given.folder)
        save(made, given.out)
    except (ValueError, OSError) as error:
        print(f"export: {message_of(error)[:300]}", file=sys.stderr)  # noqa: T201
        return 2
    if made.reason:
        print(f"export: not compacted, the network has its full size: {made.reason[:300]}", file=sys.stderr)  # noqa: T201
    params = sum(parameter.numel() for parameter in made.model.parameters())
    print(f"{given.out}: {made.trial.name}, {params:,} of {made.params:,} parameters")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

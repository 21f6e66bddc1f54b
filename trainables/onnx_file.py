"""A model as an ONNX file, for runtimes that know nothing of torch. The packages it takes are the extra `onnx`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from pruners.errors import words
from trainables.atomic import write_atomically

OPSET = 18  # the oldest that torch's exporter writes without conversion, so what most runtimes can read


def save(model: nn.Module, input_shape: tuple[int, int, int], facts: Mapping[str, str], out: Path) -> None:
    """Write `model`, in eval mode, with the input `images` [N, C, H, W], N free, and the output `logits` [N, classes].

    `facts` become the file's metadata.

    Raises:
        ValueError: in one line, if the extra is not installed or torch cannot translate the model.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ValueError(f"{out}: {' and '.join(missing)} not installed; pip install onnx onnxscript")
    example = torch.zeros(2, *input_shape)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torch tells of its steps
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
    except Exception as error:  # noqa: BLE001 - a forward that cannot be traced fails as it likes
        raise ValueError(f"{out}: torch cannot translate this model: {words(error)[:300]}") from None
    assert program is not None
    program.model.metadata_props.update(facts)
    write_atomically(out, lambda path: program.save(path, external_data=False))

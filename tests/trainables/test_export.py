"""Exported models: the logits of the trained network, from a file that needs no trial and no data."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pruners import apply_masks, prunable
from search_spaces import Trial
from trainables import export
from trainables.architectures import build
from trainables.context import Place
from trainables.export import load, main
from trainables.run import run

BASE = Trial(dataset="digits", architecture="conv", epochs=1, batch_size=64, lr=0.05)
PRUNED = {"pruner": "magnitude", "granularity": "filter"}
TRIALS = {
    "dense": BASE,
    "filters": BASE.model_copy(update=PRUNED | {"kappa": 0.5}),
    "residual": BASE.model_copy(update=PRUNED | {"architecture": "resnet20", "compression": 8.0, "epochs": 0}),
    "weights": BASE.model_copy(update=PRUNED | {"architecture": "mlp", "granularity": "weight", "compression": 50.0}),
}
X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for trial in TRIALS.values():
        assert run(trial, Place(storage=folder / "checkpoints", cache=folder / "data")).error == ""
    return folder / "checkpoints"


def logits(storage, trial):
    """What the trained network computes, from its own files."""
    folder = storage / trial.fingerprint
    model = build(trial.network, (1, 8, 8), 10, seed=1)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    apply_masks(model, load_file(folder / "masks.safetensors"))
    return model.eval()(X).detach()


@pytest.mark.parametrize("kind", TRIALS)
def test_a_file_holds_the_smaller_network_and_all_that_is_needed_to_load_it(kind, storage, tmp_path, capsys):
    trial, out = TRIALS[kind], tmp_path / "model.safetensors"
    assert main([str(storage / trial.fingerprint), str(out)]) == 0
    assert trial.name in capsys.readouterr().out
    model = load(out)
    assert type(model) is type(build(trial.network, (1, 8, 8), 10, seed=0))
    assert not model.training
    torch.testing.assert_close(model(X), logits(storage, trial), atol=1e-5, rtol=1e-4)
    with safe_open(out, "pt") as file:
        facts = file.metadata()
    assert Trial.model_validate_json(facts["trial"]) == trial
    assert json.loads(facts["channels"]) == {name: list(w.shape[:2]) for name, w in prunable(model).items()}
    assert facts["not_compacted"] == ""
    whole = sum(p.numel() for p in build(trial.network, (1, 8, 8), 10, seed=0).parameters())
    smaller = sum(p.numel() for p in model.parameters())
    assert smaller == whole if kind == "dense" else smaller < whole


def test_what_was_loaded_goes_on_training(storage, tmp_path):
    out = tmp_path / "model.safetensors"
    main([str(storage / TRIALS["residual"].fingerprint), str(out)])
    model = load(out).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(X), torch.arange(5)).backward()
    optimizer.step()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("kind", ["filters", "residual"])
def test_onnx_runs_without_torch_at_any_batch_size(kind, storage, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the exported file, is not installed")
    trial, out = TRIALS[kind], tmp_path / "model.onnx"
    assert main([str(storage / trial.fingerprint), str(out)]) == 0
    session = runtime.InferenceSession(out, providers=["CPUExecutionProvider"])
    for images in (X, X[:1]):
        (found,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), logits(storage, trial)[: len(images)], atol=1e-4, rtol=1e-4)
    proto = onnx.load(out)
    assert proto.opset_import[0].version == export.OPSET
    assert Trial.model_validate_json({p.key: p.value for p in proto.metadata_props}["trial"]) == trial
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_onnx_without_its_packages_is_one_line(storage, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "is_installed", lambda name: False)
    assert main([str(storage / BASE.fingerprint), str(tmp_path / "model.onnx")]) == 2
    assert "onnx and onnxscript not installed; pip install onnx onnxscript" in refusal(capsys)


def test_a_network_that_cannot_be_compacted_keeps_its_size(storage, tmp_path, monkeypatch, capsys):
    trial, out = TRIALS["filters"], tmp_path / "model.safetensors"

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build(trial.network, (1, 8, 8), 10, seed=0)

        def forward(self, x):
            return self.inner(x) if x.sum() > -1e9 else x

    folder = tmp_path / "trial"
    shutil.copytree(storage / trial.fingerprint, folder)
    for name in ("weights", "masks"):
        tensors = load_file(folder / f"{name}.safetensors")
        save_file({f"inner.{key}": tensor for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    monkeypatch.setattr(export, "build", lambda *_: Branching())
    assert main([str(folder), str(out)]) == 0
    assert "not compacted, the network has its full size: torch.fx cannot trace" in refusal(capsys)
    torch.testing.assert_close(load(out)(X), logits(storage, trial))


def test_the_code_of_a_file_is_not_run(storage, tmp_path):
    out = tmp_path / "model.safetensors"
    main([str(storage / TRIALS["filters"].fingerprint), str(out)])
    with safe_open(out, "pt") as file:
        facts = file.metadata()
    own = TRIALS["filters"].model_copy(update={"architecture": "my.py:net", "architecture_code": "1 / 0"})
    save_file(load_file(out), out, metadata=facts | {"trial": own.model_dump_json()})
    with pytest.raises(ValueError, match=r"'my\.py:net' is not built in; build it and pass it"):
        load(out)
    model = load(out, build("conv", (1, 8, 8), 10, seed=0))
    torch.testing.assert_close(model(X), logits(storage, TRIALS["filters"]), atol=1e-5, rtol=1e-4)


def refusal(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("change", "out", "message"),
    [
        (lambda folder: (folder / "weights.safetensors").unlink(), "m.safetensors", "too large to keep"),
        (lambda folder: (folder / "masks.safetensors").unlink(), "m.safetensors", "there is no masks.safetensors"),
        (
            lambda folder: (folder / "trial.json").unlink(),
            "m.onnx",
            "there is no trial.json: it is not a trial's folder",
        ),
        (lambda folder: (folder / "trial.json").write_text("{"), "m.onnx", "trial.json: not a trial's record"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x" * 9), "m.onnx", "cannot be read"),
        (lambda folder: None, "m.pt", "'.pt' is not allowed; the file must end in .safetensors or .onnx"),
        (lambda folder: None, "nowhere/m.safetensors", "No such file"),
    ],
)
def test_what_cannot_be_exported_is_one_line(change, out, message, storage, tmp_path, capsys):
    folder = tmp_path / "trial"
    shutil.copytree(storage / BASE.fingerprint, folder)
    change(folder)
    assert main([str(folder), str(tmp_path / out)]) == 2
    assert message in refusal(capsys)
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"x": torch.zeros(1)}, {}, "its metadata has no 'trial'; it was not written by trainables.export"),
        ({"x": torch.zeros(1)}, {"trial": "{}"}, "cannot be loaded"),
        ({"x": torch.zeros(1)}, {"trial": BASE.model_dump_json(), "input_shape": "[1,8,8]", "num_classes": "10"},
         "cannot be loaded: Error"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line(tensors, metadata, message, tmp_path):
    save_file(tensors, tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=message) as refused:
        load(tmp_path / "m.safetensors")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"gone\.safetensors: cannot be loaded"):
        load(tmp_path / "gone.safetensors")

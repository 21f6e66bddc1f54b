"""Weights to start from: known by content, checked before anything trains, there when a trial starts."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights, resnet18

from orchestrator.planning.catalog import catalog
from orchestrator.planning.check_networks import provide_weights
from orchestrator.planning.plan import plan
from orchestrator.sweep import main
from search_spaces import Network, SpaceError, Trial, expand, load
from tests.trainables.s3 import s3
from trainables.architectures import build, pretrained
from trainables.architectures.pretrained import fitted
from trainables.context import Place
from trainables.record import files
from trainables.run import run

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "magnitude", "compression": 2, "epochs": 0}
SHAPE = (1, 8, 8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(build("mlp", SHAPE, 10, seed=7).state_dict(), path)
    return path


def planned(tmp_path, architecture, **fields):
    return plan(load(BASE | {"architecture": architecture} | fields), cache=tmp_path / "data")


def mlp(path, **settings):
    return {"name": "mlp", "pretrained": str(path), **settings}


def test_the_record_names_the_content_and_not_the_place(file, tmp_path):
    def first(path):
        return expand(load(BASE | {"architecture": mlp(path)}), catalog())[1][0]

    here = first(file)
    assert here.pretrained.startswith("sha256:") and here.pretrained.endswith(".safetensors")
    (tmp_path / "elsewhere").mkdir()
    moved = file.rename(tmp_path / "elsewhere" / "other-name.safetensors")
    assert first(moved) == here
    save_file(build("mlp", SHAPE, 10, seed=8).state_dict(), moved)
    assert first(moved).fingerprint != here.fingerprint
    assert "sha256:" in here.name and len(here.name) < 60


@pytest.mark.slow
def test_a_sweep_starts_from_the_file_and_needs_it_no_more(file, tmp_path):
    output = tmp_path / "out"
    space = tmp_path / "space.yaml"
    space.write_text(
        f"dataset: digits\narchitecture: {{name: mlp, pretrained: {file}}}\npruner: magnitude\n"
        "compression: [1, 2]\nepochs: 0\n"
    )
    assert main([str(space), "--local", "--output", str(output)]) == 0
    (copied,) = (output / "checkpoints" / "pretrained").glob("*.safetensors")
    assert copied.read_bytes() == file.read_bytes()
    (dense, pruned) = planned(tmp_path, mlp(file), compression=[1, 2]).trials
    file.unlink()
    place = Place(storage=output / "checkpoints", cache=tmp_path / "data")
    assert run(pruned.model_copy(update={"seed": 5}), place).end == "finished"
    weights = pretrained.read(place.storage / dense.fingerprint / "weights.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in pretrained.read(copied).items())


def test_nodes_that_share_an_object_store_start_from_the_file_too(file, tmp_path):
    with s3() as uri:
        driver, node = (
            Place(storage=tmp_path / who, cache=tmp_path / "data", mirror=uri) for who in ("driver", "node")
        )
        made = planned(tmp_path, mlp(file), pretrain_epochs=1)
        provide_weights([trial.network for trial in made.started], made.weight_files, driver)
        (trial,) = made.trials
        assert run(trial, node).error == ""
        assert (node.pretrained / trial.pretrained.removeprefix("sha256:")).read_bytes() == file.read_bytes()


def test_a_trial_that_reinitializes_forgets_them(file, tmp_path):
    place = Place(storage=tmp_path / "store", cache=tmp_path / "data")
    trials = [
        planned(tmp_path, mlp(file), ablation=ablation, seed=seed).trials[0]
        for ablation, seed in (("none", 0), ("reinitialize", 0), ("reinitialize", 1))
    ]
    pretrained.provide(trials[0].pretrained, "", place.pretrained, file)
    states = []
    for trial in trials:
        assert run(trial, place).end == "finished"
        masks = pretrained.read(place.storage / trial.fingerprint / "masks.safetensors")
        weights = pretrained.read(place.storage / trial.fingerprint / "weights.safetensors")
        assert not weights["1.weight"][~masks["1.weight"]].any()
        states.append((weights["1.weight"], masks["1.weight"]))
    assert torch.equal(states[0][1], states[1][1])  # the masks are those of the pretrained weights
    assert not torch.equal(states[0][0], states[1][0]) and not torch.equal(states[1][0], states[2][0])


def test_another_number_of_classes_gets_a_new_classifier_and_is_said(file, tmp_path):
    save_file(build("mlp", SHAPE, 4, seed=7).state_dict(), file)
    (notice,) = planned(tmp_path, mlp(file)).notices
    assert "weights have 4 classes, but digits has 10: its classifier is new" in notice
    network = Network("mlp", pretrained=pretrained.canonical(str(file), ""))
    pretrained.provide(network.pretrained, "", tmp_path / "p", file)
    drawn, started = build("mlp", SHAPE, 10, 0), build(network, SHAPE, 10, 0, tmp_path / "p")
    given = pretrained.read(file)
    for name, tensor in started.state_dict().items():
        assert torch.equal(tensor, drawn.state_dict()[name] if name.startswith("11.") else given[name])


def test_a_checkpoint_of_torch_with_its_wrappings(tmp_path):
    state = build("mlp", SHAPE, 10, seed=7).state_dict()
    path = tmp_path / "mine.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    assert planned(tmp_path, mlp(path)).notices == ()
    assert all(torch.equal(state[name], tensor) for name, tensor in pretrained.read(path).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "conv"}, r"weights are of another network: 0\.weight is missing"),
        ({"width": 50}, r"another network: 1\.weight is \(100, 64\) and must be \(50, 64\)"),
        ({"pretrained": "nowhere.pt"}, r"pretrained: there is no file 'nowhere\.pt'"),
        ({"pretrained": "./weights.bin"}, r"is not a file of a state dict; it must end in \.safetensors, \.pt, \.pth"),
        ({"pretrained": "imagenet"}, r"torchvision has no 'imagenet' for this architecture"),
        (
            {"name": "resnet18", "pretrained": "IMAGENET1K_V3"},
            r"'IMAGENET1K_V3' .*did you mean 'IMAGENET1K_V1'",
        ),
    ],
)
def test_refusals_in_one_line(file, tmp_path, change, message):
    with pytest.raises(SpaceError, match=message) as refusal:
        planned(tmp_path, mlp(file) | change)
    assert "\n" not in str(refusal.value)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code from a file was run",))


@pytest.mark.parametrize("content", [pickle.dumps(Bomb()), b"", b"not a checkpoint"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_state_dict_is_refused_and_never_run(tmp_path, content, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=rf"'bad\{suffix}' is not a state dict") as refusal:
        planned(tmp_path, mlp(path))
    assert "\n" not in str(refusal.value)


def test_a_record_whose_file_was_never_provided_says_so(file, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LATE_SECONDS", 0.1)  # for which a folder may show a file late
    trial = planned(tmp_path, mlp(file)).trials[0]
    outcome = run(trial, Place(storage=tmp_path / "elsewhere", cache=tmp_path / "data"))
    assert outcome.end == "failed" and "pretrained: there is no file" in outcome.error


def test_torchvisions_weights_are_read_from_the_sweeps_folder(tmp_path, monkeypatch):
    """As if they had been downloaded there before: torch.hub takes a file it has."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "pretrained"
    (folder / "checkpoints").mkdir(parents=True)
    source = resnet18()
    name = get_model_weights("resnet18").IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(source.state_dict(), folder / "checkpoints" / name)
    network = Network("resnet18", pretrained=pretrained.canonical("imagenet", "resnet18"))
    assert network.pretrained == "IMAGENET1K_V1"
    assert pretrained.file(network.pretrained, "resnet18", folder).name == name
    model = build(network, (1, 64, 64), 10, 0, folder)
    state = source.state_dict()
    torch.testing.assert_close(model.state_dict()["conv1.weight"], state["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(model.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert model.fc.out_features == 10
    assert not (tmp_path / "home").exists()


def test_a_vision_transformers_positions_fit_another_image_size():
    with torch.device("meta"):
        model, given = (
            build("torchvision/vit_b_32", (3, 64, 64), 10, 0),
            build("torchvision/vit_b_32", (3, 224, 224), 7, 0),
        )
    ready, other = fitted(model, given.state_dict(), 10)
    assert other == 7
    assert ready["encoder.pos_embedding"].shape == (1, 5, 768)


def test_without_a_folder_nothing_is_drawn_in_their_place():
    with pytest.raises(SpaceError, match=r"build\(…, weights=FOLDER\)"):
        build(Network("resnet18", pretrained="IMAGENET1K_V1"), (3, 64, 64), 10, 0)


def test_the_record_of_a_trial_without_is_as_before():
    trial = Trial(dataset="digits", architecture="mlp")
    assert "pretrained" not in trial.model_dump(exclude_defaults=True)

"""Record of a network: the name of its architecture, and the settings that a space may give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search_spaces.catalog import ArchitectureTraits, is_custom
from search_spaces.errors import SpaceError, choose
from search_spaces.labels import short

# Settings that a space may give any architecture, beside the architecture's own options, and their defaults.
COMMON: dict[str, Any] = {"pretrained": "", "init": "", "dense_classifier": False, "keep_dense": ()}


@dataclass(frozen=True)
class Network:
    """Record from which `trainables.architectures.build` makes a model. Hashable: plans count and probe each once."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()  # depth, width, …: those that differ from their defaults
    code: str = ""  # the text of the user's own file, if `name` is in one: `my_file.py:build`
    pretrained: str = ""  # source of the initial weights; "" = drawn at random
    init: str = ""  # initialisation of the weights; "" = the architecture's own
    dense_classifier: bool = False  # the last linear layer is not prunable
    keep_dense: tuple[str, ...] = ()  # glob patterns of parameter names that are not prunable

    def fields(self) -> dict[str, Any]:
        """Return the fields of a trial that describe this network."""
        return {
            "architecture": self.name,
            "architecture_options": dict(self.options),
            "architecture_code": self.code,
            **{key: getattr(self, key) for key in COMMON},
        }

    @property
    def fresh(self) -> Network:
        """Return the same network with weights drawn at random."""
        return replace(self, pretrained="")

    @property
    def label(self) -> str:
        """Return the label that users see: `resnet20`, `resnet20 width=32 dense_classifier=true`."""
        common = {key: getattr(self, key) for key, default in COMMON.items() if getattr(self, key) != default}
        return " ".join([self.name, *(f"{key}={_shown(value)}" for key, value in (*self.options, *common.items()))])


def read(entry: Mapping[str, Any], traits: ArchitectureTraits) -> Network:
    """Return the network that an `entry` of a space asks for: a name and its settings.

    Of the architecture's own options only those that differ from their defaults are kept, so that an option added
    later leaves old fingerprints unchanged. Pretrained weights are recorded by what they are, not by their path.

    Raises:
        SpaceError: with the setting, its value and what is allowed.
    """
    name, options = entry["name"], traits.options
    for key in entry:
        choose(f"architecture {name}", key, ("name", *COMMON, *options))
    given = {key: value for key, value in entry.items() if key != "name"}
    for key, value in given.items():
        _require_like(f"architecture {name}: {key}", value, (COMMON | dict(options))[key])
    if given.get("init") and given.get("pretrained"):
        raise SpaceError(f"architecture {name}: init: {given['init']} is not allowed with pretrained weights")
    path, _, wanted = name.rpartition(":")
    own = is_custom(name)
    return Network(
        name=f"{Path(path).name}:{wanted}" if own else name,
        options=tuple(sorted((key, given[key]) for key in options if given.get(key, options[key]) != options[key])),
        # The text of a user's own file determines the result. The record has it: the trial's node may lack the file.
        code=Path(path).expanduser().read_text(encoding="utf-8") if own else "",
        pretrained=traits.pretrained(given.get("pretrained", "")),
        init=traits.initialisation(given["init"]) if given.get("init") else "",
        dense_classifier=given.get("dense_classifier", False),
        keep_dense=tuple(given.get("keep_dense", ())),
    )


def _require_like(where: str, value: Any, default: Any) -> None:
    """Raise SpaceError if a value's type is not that of the option's default; an int is accepted for a float."""
    if isinstance(default, tuple):
        alike = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    else:
        alike = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
    if not alike:
        wanted = (
            "a list of names"
            if isinstance(default, tuple)
            else f"of the type of its default, {_shown(default) or 'a name'}"
        )
        raise SpaceError(f"{where}: {value!r} is not allowed; it must be {wanted}")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return short(",".join(value))
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[: len("sha256:") + 8]  # eight digits of a file's hash tell files apart
    return str(value).lower() if isinstance(value, bool) else short(value)

"""Loading of spaces from presets of the package, YAML files and mappings, with overrides."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import SpaceError, choose, nearest
from search_spaces.space import ABOUT, AMOUNTS, KEYS, MASKED, Space, validate


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Space:
    """Load a space from a preset's name, a path or a mapping, and apply `field=value` overrides (values in YAML).

    Raises:
        SpaceError: if there is no such space, or a key, a value or an override is not allowed.
    """
    raw, default_name = (dict(source), "space") if isinstance(source, Mapping) else _read(source)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign:
            raise SpaceError(f"--set {override}: write field=value, for example --set compression=[1,10,100]")
        choose("--set", key, KEYS)
        if key in AMOUNTS:  # an override of one of them, such as density, replaces another, such as compression
            raw = {k: v for k, v in raw.items() if k not in AMOUNTS}
        if key == "mask":
            raw = {k: v for k, v in raw.items() if k not in MASKED}
        raw[key] = _parse(text, f"--set {override}")
        if "exclude" in raw and key != "exclude":
            raw["exclude"] = _without(key, raw["exclude"])
    changed = [key for key in dict.fromkeys(override.partition("=")[0] for override in overrides) if key not in ABOUT]
    if changed and raw.get("description"):  # the description is that of the space without overrides
        raw["description"] = f"{raw['description']} (changed: {', '.join(changed)})"
    return validate(raw, default_name)


def _without(key: str, exclude: Any) -> Any:
    """Return the exclusions without those that name `key`: they were written for other values of it."""
    rules = exclude if isinstance(exclude, list) else [exclude]
    same = AMOUNTS if key in AMOUNTS else (key,)
    return [rule for rule in rules if not (isinstance(rule, dict) and any(each in rule for each in same))]


def presets() -> dict[str, str]:
    """Return the spaces that ship with the package: name -> description."""
    return {name: load(name).description for name in _preset_files()}


def _preset_files() -> dict[str, Traversable]:
    """Return the files of the presets by name: first our own, then the recipes of the papers."""
    here = resources.files("search_spaces")
    files = [
        file for folder in (here, here / "papers") for file in sorted(folder.iterdir(), key=lambda f: f.name.split("."))
    ]
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


def _read(source: str | Path) -> tuple[dict[str, Any], str]:
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or (str(source) not in _preset_files() and os.path.isfile(path)):  # noqa: PTH113 - no error if too long
        try:
            text, name = path.read_text(encoding="utf-8"), path.stem
        except FileNotFoundError:
            near = nearest(path.name, (file.name for file in path.parent.glob("*.y*ml")))
            hint = f"; did you mean '{path.with_name(near)}'?" if near else ""
            raise SpaceError(f"space: there is no file '{source}'{hint}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise SpaceError(f"space: line {line} of '{source}' is not UTF-8; save the file as UTF-8") from None
        except OSError as error:
            raise SpaceError(f"space: '{source}' cannot be read: {error.strerror}") from None
    else:
        files = _preset_files()
        if str(source) not in files and os.path.isfile(f"{source}.yaml"):  # noqa: PTH113 - the same
            raise SpaceError(f"space: '{source}' is not known; did you mean '{source}.yaml'?")
        name = choose("space", str(source), files)
        text = files[name].read_text(encoding="utf-8")
    raw = _parse(text, str(source))
    if raw is None:
        raise SpaceError(f"{source}: the file is empty; a space needs at least dataset, architecture and pruner")
    if not isinstance(raw, dict):
        raise SpaceError(f"{source}: a space is a mapping of fields, not {type(raw).__name__}")
    return raw, name


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that reads numbers as people write them, and raises an error if a key is written twice.

    YAML 1.1 reads 064 as octal, 1e-2 as a word, and 2:4 and 1:30.5 as times in minutes and seconds.
    """


MERGE = "tag:yaml.org,2002:merge"


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value if key.tag != MERGE]  # `<<` brings keys, and is none
    for index, key in enumerate(keys):
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(problem=f"the key {key!r} is not a name")
        if key in keys[:index]:
            raise yaml.constructor.ConstructorError(problem=f"'{key}' is written twice")
    return loader.construct_mapping(node, deep=True)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Return a whole number; leading zeros are no octal number."""
    return int(node.value.replace("_", "")) if DECIMAL.match(node.value) else loader.construct_yaml_int(node)


def _float(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """Return a number; 1e2, written without a point, is the whole number 100."""
    text = node.value.replace("_", "")
    if WHOLE.match(text) and (number := Decimal(text)) == number.to_integral_value():
        return int(number)
    return loader.construct_yaml_float(node)


DECIMAL = re.compile(r"[-+]?[0-9][0-9_]*$")
WHOLE = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,2}$")
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_FIRST = [  # these come before YAML 1.1's own
    ("tag:yaml.org,2002:str", re.compile(r"[-+]?[0-9][0-9_]*(:[0-9_]+)+(\.[0-9_]*)?$")),
    ("tag:yaml.org,2002:int", DECIMAL),
    ("tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)[eE][-+]?[0-9]+$")),
]
_Loader.yaml_implicit_resolvers = {
    first: [*_FIRST, *resolvers] for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SpaceError(f"{where}: not valid YAML: {_wrong(error)}") from None
    except RecursionError:
        raise SpaceError(f"{where}: not valid YAML: nested too deeply") from None


def _wrong(error: yaml.YAMLError) -> str:
    """Return what is wrong with the YAML and on which line, without the text that the error quotes."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())[:300]
    found = ((error.context, error.context_mark), (error.problem, error.problem_mark))
    return ", ".join(f"{what} in line {mark.line + 1}" if mark else str(what) for what, mark in found if what)[:300]

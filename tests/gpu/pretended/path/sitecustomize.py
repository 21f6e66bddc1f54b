"""Give every Python process its pretended GPU. Python imports a module of this name when it starts."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _TorchFinder:
    """Import hook that installs the pretended GPU's kernels as soon as torch is imported, and not before."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        if spec is not None and spec.loader is not None:
            _install_after(spec)
        return spec


def _install_after(spec: ModuleSpec) -> None:
    import_torch = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        import_torch(module)
        if module.version.cuda and module.cuda.device_count():
            import pretended_gpu

            pretended_gpu.install()

    spec.loader.exec_module = exec_module


if "PRETENDED_GPU_LIBRARY" in os.environ:
    sys.meta_path.insert(0, _TorchFinder())

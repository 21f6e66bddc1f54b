"""Torch's CUDA kernels, done by the CPU on the memory of a pretended GPU; and counts of what a program asked of it.

```python
from pretended_gpu import counting

with counting() as counts:
    train()
print(counts.launches.total(), counts.synchronizations)
```
"""

from __future__ import annotations

from pretended_gpu.counts import Counts, counting, so_far
from pretended_gpu.install import install

__all__ = ["Counts", "counting", "install", "so_far"]

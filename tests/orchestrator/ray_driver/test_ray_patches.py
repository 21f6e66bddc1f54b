"""Each patch of Ray is still needed: Ray as it comes does what the patch sets right. One that fails here can go."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT_PATCHES = {
    "a trial killed by the memory monitor is an error of Tune's own": """
from ray.exceptions import OutOfMemoryError
from ray.air.execution._internal.actor_manager import RayActorManager
try:
    RayActorManager._actor_task_failed(SimpleNamespace(), SimpleNamespace(_tracked_actor=None), OutOfMemoryError("low"))
except RuntimeError as error:
    print("Caught unexpected exception" in str(error))
""",
    "Tune keeps the state of each trial that changed": """
from ray.tune.execution.tune_controller import TuneController
controller = SimpleNamespace(_trials_to_cache=set())
TuneController._mark_trial_to_checkpoint(controller, "a trial")
print(controller._trials_to_cache == {"a trial"})
""",
    "Ray prints pages about each process that died": """
import io
from contextlib import redirect_stderr
from ray._private import worker
data = {"pid": "raylet", "ip": "10.0.0.1", "is_err": True, "job": "01", "actor_name": None, "task_name": None}
with redirect_stderr(io.StringIO()) as printed:
    worker.print_to_stdstream(data | {"lines": ["A worker died or was killed while executing a task"]}, False)
print("A worker died" in printed.getvalue())
""",
}


@pytest.mark.parametrize("what", WITHOUT_PATCHES)
def test_ray_still_needs_the_patch(what):
    code = f"from types import SimpleNamespace\n{WITHOUT_PATCHES[what]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True", done.stderr

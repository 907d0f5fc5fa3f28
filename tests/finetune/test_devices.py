"""Training on eight virtual devices: exact, reproducible, and nearly what one device gives."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from hgqify.errors import RuleError
from hgqify.finetune import FinetuneSettings
from hgqify.finetune.devices import Devices, Placement, place

SCRIPT = """
    import json
    import sys
    import numpy as np
    sys.path.insert(0, {tests!r})
    import keras
    from budget_cases import cnn, mlp, samples
    import hgqify
    from hgqify.errors import RuleError
    from hgqify.finetune.devices import Devices, place
    from hgqify.progress import no_progress
    from hgqify.reference import run

    assert len(keras.distribution.list_devices()) == 8
    try:
        place(Devices.ALL, 30)
    except RuleError as error:
        print(error)

    class Seen(keras.callbacks.Callback):
        def __init__(self, devices):
            super().__init__()
            self.count = 8 if devices == "all" else 1

        def on_train_batch_end(self, batch, logs=None):
            assert len(self.model.get_layer("a").kernel.value.sharding.device_set) == self.count

    def convert(build, budget, devices):
        model = build()
        x = samples(model)
        result = hgqify.convert(
            model, x, target_ebops=budget, finetune_steps=40, batch_size=32, devices=devices,
            compensate=False, own=hgqify.OwnTraining(callbacks=[Seen(devices)]), progress=no_progress,
        )
        for scale in (1, 10):
            (expected,) = run(result.program, scale * x).values
            np.testing.assert_array_equal(result.model.predict_on_batch(scale * x), expected)
        trained = result.report.finetune
        weights = [w.tolist() for w in result.model.get_weights()]
        return {{"losses": trained["losses"], "ebops": result.report.ebops, "weights": weights}}

    found = [convert(build, budget, devices) for build, budget in ((mlp, 5000), (cnn, 30_000))
             for devices in ("all", "all", "one")]
    with open({out!r}, "w") as file:
        json.dump(found, file)
"""


def test_eight_devices(tmp_path):
    out = tmp_path / "found.json"
    code = textwrap.dedent(SCRIPT).format(tests=str(Path(__file__).parent), out=str(out))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error:There is a mix", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "over 8 devices" in done.stdout
    assert "mix of" not in done.stderr
    found = json.loads(out.read_text())
    for all_one, all_two, one in (found[:3], found[3:]):
        assert all_one == all_two  # to the bit
        assert all_one["losses"][0] == one["losses"][0]
        np.testing.assert_allclose(
            [loss for _, loss in all_one["losses"]], [loss for _, loss in one["losses"]], rtol=0.5, atol=1e-3
        )
        assert abs(all_one["ebops"] - one["ebops"]) < 0.05 * one["ebops"]


def test_one_device_needs_no_distribution():
    assert place(Devices.ONE, 7) == Placement()
    with pytest.raises(RuleError, match="'one' or 'all'"):
        FinetuneSettings(devices="two")  # pyright: ignore[reportArgumentType]
    assert FinetuneSettings(devices="all").devices is Devices.ALL  # pyright: ignore[reportArgumentType]

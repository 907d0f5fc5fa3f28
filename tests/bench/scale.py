"""Time and memory of propagation and export for a net of some 200,000 parameters, and for a deep one.

    python tests/bench/scale.py [--rows NAME ...]

Every row is measured in processes of its own, ours and hls4ml's in turn: seconds of the steps, and the peak
of the process's memory. ours: bounds, requests, types, and the project on disk, from the quantized model.
hls4ml: its own conversion of the float net (`convert_from_keras_model`, one type for all), and its
`bit_exact` pass on our layers with every precision 'auto'; both until the project is on disk, none compiled.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

SIDES = ("ours", "hls4ml, float net", "hls4ml, bit_exact")


def conv_net() -> keras.Model:
    """32x32x3, six 3x3 convolutions in three blocks with pooling, and a dense head."""
    x = given = keras.Input((32, 32, 3))
    for filters in (24, 48, 96):
        for _ in range(2):
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(32, activation="relu")(x)
    return keras.Model(given, keras.layers.Dense(10)(x), name="conv_net")


def residual_net(blocks: int) -> keras.Model:
    """Residual blocks in a row, narrow: only their number matters."""
    x = given = keras.Input((8, 8, 4))
    for _ in range(blocks):
        y = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = keras.layers.Add()([x, keras.layers.Conv2D(4, 3, padding="same")(y)])
        x = keras.layers.ReLU()(x)
    return keras.Model(given, keras.layers.Dense(4)(keras.layers.Flatten()(x)), name="residual")


NETS = {
    "200k parameters, io_stream": (conv_net, "io_stream", {}),
    "200k parameters, io_parallel": (conv_net, "io_parallel", {"activation_granularity": "element"}),
    "4 residual blocks": (lambda: residual_net(4), "io_parallel", {}),
    "8 residual blocks": (lambda: residual_net(8), "io_parallel", {}),
    "12 residual blocks": (lambda: residual_net(12), "io_parallel", {}),
}


def prepare_files(name: str, folder: Path) -> None:
    """The float model and the quantized one, so that measured processes begin with them."""
    import hgqify
    from hgqify.progress import no_progress

    build, io_type, settings = NETS[name]
    keras.utils.set_random_seed(1)
    model = build()
    rng = np.random.default_rng(1)
    # Weights as after training: no output is thousands of times its input.
    for layer in model.layers:
        layer.set_weights([w if w.ndim > 1 else rng.normal(size=w.shape) * 0.1 for w in layer.get_weights()])
    model.save(folder / "float.keras")
    data = rng.normal(size=(64, *model.input_shape[1:])).astype(np.float32)
    result = hgqify.convert(model, data, finetune_steps=0, io_type=io_type, progress=no_progress, **settings)
    result.model.save(folder / "quantized.keras")


def ours(folder: Path, io_type: str) -> dict[str, float]:
    """Bounds and integers, requests and types, the project; and how much of that is hls4ml's writing."""
    import hgqify  # noqa: F401 - its layers load
    from hgqify.export import ProjectOptions, project, write_project
    from hgqify.precision import formats, lower

    model = keras.saving.load_model(folder / "quantized.keras")
    steps = {}
    start = time.monotonic()
    program = lower(model)
    steps["lower"] = time.monotonic() - start
    start = time.monotonic()
    formats(program)
    steps["types"] = time.monotonic() - start
    spent = []
    before = project._model_graph

    def timed(*args):
        begin = time.monotonic()
        graph = before(*args)
        write = graph.write

        def timed_write() -> None:
            begin = time.monotonic()
            write()
            spent.append(time.monotonic() - begin)

        graph.write = timed_write
        spent.append(time.monotonic() - begin)
        return graph

    project._model_graph = timed
    start = time.monotonic()
    write_project(program, folder / "ours", ProjectOptions(io_type=io_type))
    steps["write"] = time.monotonic() - start
    steps["of which hls4ml"] = sum(spent)
    steps["total"] = steps["lower"] + steps["types"] + steps["write"]
    return steps


def theirs_float(folder: Path, io_type: str) -> dict[str, float]:
    """hls4ml's own handlers, one type for all."""
    import hls4ml

    model = keras.saving.load_model(folder / "float.keras")
    start = time.monotonic()
    config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
    graph = hls4ml.converters.convert_from_keras_model(
        model, hls_config=config, output_dir=str(folder / "float"), backend="Vitis", io_type=io_type
    )
    graph.write()
    return {"total": time.monotonic() - start}


def theirs_exact(folder: Path, io_type: str) -> dict[str, float]:
    """hls4ml's type inference on our layers, and its writing."""
    from bit_exact_types import their_graph

    import hgqify  # noqa: F401 - its layers load
    from hgqify.export.plan import make_plan, prepare
    from hgqify.precision import lower

    plan = make_plan(prepare(lower(keras.saving.load_model(folder / "quantized.keras"))), io_type)
    start = time.monotonic()
    graph = their_graph(plan, folder / "exact")
    graph.write()
    return {"total": time.monotonic() - start}


def measured(name: str, side: str, folder: Path) -> dict[str, float | str]:
    """One side in a process of its own."""
    call = [sys.executable, __file__, "--measure", name, side, str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"error": lines[-1][:160] if lines else f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def peak_mib() -> float:
    """Peak of this process's own memory; getrusage counts that of the process that started it, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, side: str, folder: Path) -> None:
    function = dict(zip(SIDES, (ours, theirs_float, theirs_exact), strict=True))[side]
    with contextlib.redirect_stdout(io.StringIO()):
        found = function(folder, NETS[name][1])
    found["MiB"] = peak_mib()
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", default=list(NETS))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, side, folder = options.measure
        return measure(name, side, Path(folder))
    header = ["net", "parameters", "what", "seconds", "of ours", "steps", "peak MiB"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    for name in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            prepare_files(name, folder)
            parameters = NETS[name][0]().count_params()
            base = None
            for side in SIDES:
                found = measured(name, side, folder)
                if "error" in found:
                    print(f"| {name} | {parameters:,} | {side} | {found['error']} | | | |", flush=True)
                    continue
                base = base or found["total"]
                steps = ", ".join(f"{k} {v:.1f}" for k, v in found.items() if k not in ("total", "MiB"))
                print(
                    f"| {name} | {parameters:,} | {side} | {found['total']:.1f} "
                    f"| {found['total'] / base:.2f} "
                    f"| {steps} | {found['MiB']:.0f} |",
                    flush=True,
                )
    return None


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()

"""The option --backend of a benchmark; import this before keras, which reads its backend once."""

import argparse
import os


def parser() -> argparse.ArgumentParser:
    """To be a parent of the benchmark's own parser."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--backend",
        choices=["jax", "tensorflow", "torch"],
        default=os.environ.get("KERAS_BACKEND", "jax"),
        help="Keras backend; it must be installed",
    )
    return options


os.environ["KERAS_BACKEND"] = parser().parse_known_args()[0].backend

"""A model loaded without its memory, to learn whether it asks for more than its file holds.

A config can ask for a layer of 2^33 units in a line; Keras would make room for its weights before it sees
that the file has none. Inside a `keras.StatelessScope` variables have shapes and no values, and what the file
holds for them is assigned to the scope: what loads there has found a value of its shape for each variable,
and nothing is made for the others.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras


def rehearse(load: Callable[[], Any]) -> Exception | None:
    """Load a model in a stateless scope, and forget it.

    Args:
        load: gives a model.

    Returns:
        What it raised, if anything. Layers that read their own variables raise here and not later.
    """

    def run() -> None:
        with keras.StatelessScope(initialize_variables=False):
            load()

    # Keras keeps variables that wait for their values for each thread, and these are never to get any.
    with ThreadPoolExecutor(max_workers=1) as thread:
        error = thread.submit(run).exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return error

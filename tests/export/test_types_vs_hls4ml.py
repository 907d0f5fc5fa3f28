"""No type of ours is wider than the one hls4ml's own `bit_exact` pass gives."""

import pytest
from bit_exact_types import compare_types
from tiny_zoo import tiny_models

import hgqify
from hgqify.progress import no_progress

PER_ELEMENT = {"activation_granularity": "element", "overflow": "WRAP", "io_type": "io_parallel"}


@pytest.mark.parametrize("settings", [{}, PER_ELEMENT], ids=["defaults", "per element, WRAP"])
@pytest.mark.parametrize("name", ["mlp", "depthwise1d", "residual", "shared"])
def test_no_type_is_wider(name, settings):
    model = tiny_models.build(name, seed=1)
    data = tiny_models.inputs(model, 64, seed=3)
    result = hgqify.convert(model, data, finetune_steps=0, progress=no_progress, **settings)
    found = compare_types(result.program, result.project.io_type)
    assert found.failure is None
    assert len(found.pairs) > 10
    assert found.wider == []
    ours, theirs = found.bits("accum")
    assert 0 < ours <= theirs

"""What is written as TOML is read as it was."""

import enum
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgqify import toml_text

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
SINGLE = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXT,
)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), SINGLE | st.lists(SINGLE))
)
def test_round_trip(values: dict[str, object]) -> None:
    assert tomllib.loads(toml_text.table("[a]", values)) == {"a": values}


def test_enums_are_text_and_none_is_left_out() -> None:
    class Kind(enum.StrEnum):
        A = "a"

    assert toml_text.table("[t]", {"x": Kind.A, "y": None}) == '[t]\nx = "a"\n'


def test_what_toml_lacks() -> None:
    with pytest.raises(TypeError):
        toml_text.value({"a": 1})

"""One width for everything that is multiplied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hgqify.convert.settings import ConvertSettings, check_bits
from hgqify.errors import RuleError

MULTIPLIED = ("weight_bits", "activation_bits", "input_bits", "table_out_bits")
"""The widths that ``bits`` stands for: what meets in a multiplication, and what a table gives for one."""


def with_uniform_bits(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with ``bits`` written out as the widths it stands for.

    Operands of additions are no narrower than ``bits``, but keep the bits that ``merge_bits`` gives them:
    adders cost no EBOPs. The index of a table (its size) and the model's outputs keep their own widths.

    Args:
        settings: fields of `ConvertSettings`, and perhaps ``bits``.

    Raises:
        RuleError: an impossible width, or one that is given twice.
    """
    settings = dict(settings)
    bits = settings.pop("bits", None)
    if bits is None:
        return settings
    check_bits("bits", bits, low=2)
    twice = [f"{name}={settings[name]!r}" for name in MULTIPLIED if name in settings]
    if twice:
        raise RuleError(
            f"bits and {', '.join(text.partition('=')[0] for text in twice)} set the same width",
            received=f"bits={bits}, {', '.join(twice)}",
            remedy="give one of them, or set other widths for single layers by rules",
        )
    if "merge_bits" not in settings:
        default = next(field.default for field in fields(ConvertSettings) if field.name == "merge_bits")
        settings["merge_bits"] = max(bits, default)
    return settings | dict.fromkeys(MULTIPLIED, bits)

"""What rules say of the firmware, as exceptions of the project."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from hgqify.convert import Conversion, Rule
from hgqify.errors import ExportError, RuleError
from hgqify.export import LayerOptions, ProjectOptions
from hgqify.layers import QBatchNormalization, QLinear


def check_building(rules: Sequence[Rule]) -> None:
    """Refuse, before any work, strategies and factors that do not exist.

    Raises:
        RuleError: names the rule.
    """
    for rule in rules:
        try:
            LayerOptions(**rule.building)
        except ExportError as error:
            raise RuleError(str(error), where=rule.describe()) from None


def with_rules(project: ProjectOptions, conversion: Conversion) -> ProjectOptions:
    """The project's options with those of rules, one exception for each rule.

    An exception of the project itself comes before all rules.

    Args:
        project: as the user gave it.
        conversion: knows which layers each rule is for.

    Raises:
        RuleError: a rule sets options of firmware for layers that multiply nothing.
        ExportError: options that are impossible together.
    """
    found: dict[str, LayerOptions] = {}
    for rule, names in conversion.ruled:
        takers = [
            name
            for name in names
            if isinstance(conversion.model.get_layer(name), QLinear | QBatchNormalization)
        ]
        if not takers:
            raise RuleError(
                f"{', '.join(rule.building)} set how sums of products are built, and these layers have none",
                where=rule.describe(),
                received=", ".join(names),
                remedy="remove them from the rule",
            )
        pattern = "|".join(map(re.escape, takers))
        if pattern in project.layers:
            raise RuleError(
                f"the project's exceptions (layers) say how {', '.join(takers)} is built, too",
                where=rule.describe(),
                received=", ".join(rule.building),
                remedy="say it in one of the two places",
            )
        found[pattern] = LayerOptions(**rule.building)
    if not found:
        return project
    return dataclasses.replace(project, layers={**project.exceptions, **found})

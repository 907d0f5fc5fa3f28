"""The errors hgqify raises for mistakes a user can make.

Every message answers four questions: where, what is wrong, what was received, what to do. The
command line prints the message alone and exits with status 2.
"""


class HgqifyError(Exception):
    """Base of all errors a user of hgqify can cause.

    Args:
        what: one sentence that says what is wrong.
        where: layer path, file or option the message is about.
        received: the offending value, as short text.
        remedy: what the user can do about it.
    """

    def __init__(
        self, what: str, *, where: str | None = None, received: object = None, remedy: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.received = received
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.received is not None:
            text += f"; received: {self.received}"
        if self.remedy:
            text += f". {self.remedy[0].upper()}{self.remedy[1:]}"
        return text


class ModelLoadError(HgqifyError):
    """A file is not a model that can be read."""


class UnsupportedLayerError(HgqifyError):
    """A layer, operation or graph shape that cannot be converted; lists all of them at once."""


class RuleError(HgqifyError):
    """A conversion rule, scope or setting that contradicts itself or matches nothing."""


class DataError(HgqifyError):
    """Data that is missing, empty, of the wrong shape, or not finite."""


class CalibrationError(HgqifyError):
    """Calibration cannot find usable widths."""


class BudgetError(HgqifyError):
    """A resource budget that cannot be met; says what can."""


class PrecisionError(HgqifyError):
    """A format or an exact value that the arithmetic cannot represent."""


class ExportError(HgqifyError):
    """A project that cannot be written, or not for the chosen target."""


class BitExactnessError(HgqifyError):
    """Two computations that must agree code for code do not."""

"""The one error that crosses the process boundary."""


class ToolchainError(Exception):
    """What went wrong, as a literal template and its values, so that the parent can translate it.

    Args:
        message: English sentence with `{placeholders}`.
        hint: the next step, in the same form.
        **params: plain JSON values for the placeholders.
    """

    def __init__(self, message, *, hint="", **params):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.params = params

    def __str__(self):
        return (self.message + (" " + self.hint if self.hint else "")).format(**self.params)

    def to_dict(self):
        """Plain data for a frame."""
        return {"message": self.message, "hint": self.hint, "params": self.params}

"""One error type per boundary; the command turns each into a message and an exit code."""

from __future__ import annotations


class RlaifError(Exception):
    """Base of every error that is meant for the user: shown without a traceback."""

    exit_code: int = 2


class ConfigError(RlaifError):
    """The configuration asks for something that does not exist or cannot work.

    Args:
        problems: One line per problem, each naming the option as the user types it.
    """

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(RlaifError):
    """Input data cannot be read: names the file, the line, what was expected and what to do."""


class PluginError(RlaifError):
    """A plugin is broken, missing, or two of them claim one name."""


class StoreError(RlaifError):
    """The artefact store cannot be written or read."""


class EngineError(RlaifError):
    """A language model cannot be loaded or asked at all (one failed judgement is *missing* instead)."""


class TrainingError(RlaifError):
    """A component gave numbers that nothing can be learned from; the last checkpoint was made before them."""


class GateStopped(RlaifError):
    """A gate, limit or budget stopped the run; starting it again goes on."""

    exit_code = 3

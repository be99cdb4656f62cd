"""App Runner's five errors for the surfaces, ECR's that are needed here, and one error per driver at its door."""

from dataclasses import dataclass


class AppRunnerError(Exception):
    """A request that cannot be served; the class name is the code on the wire."""

    @property
    def code(self) -> str:
        return type(self).__name__


class InvalidRequestException(AppRunnerError):  # noqa: N818 - App Runner's spelling
    """One or more input parameters aren't valid."""


class InvalidStateException(AppRunnerError):  # noqa: N818
    """The action is not possible in the resource's current state."""


class ResourceNotFoundException(AppRunnerError):  # noqa: N818
    """No resource with this ARN or name."""


class ServiceQuotaExceededException(AppRunnerError):  # noqa: N818
    """The account's quota for this kind of resource is used up."""


class InternalServiceErrorException(AppRunnerError):  # noqa: N818
    """The emulator's own fault."""


class InvalidParameterException(AppRunnerError):  # noqa: N818 - this and the following are ECR's
    """One or more of ECR's input parameters aren't valid."""


class RepositoryNotFoundException(AppRunnerError):  # noqa: N818
    """The registry has no repository of this name."""


class RepositoryAlreadyExistsException(AppRunnerError):  # noqa: N818
    """The registry has one of this name."""


class RepositoryNotEmptyException(AppRunnerError):  # noqa: N818
    """It has images, and nobody asked to delete them too."""


class ImageNotFoundException(AppRunnerError):  # noqa: N818
    """The repository has no image of this tag or digest."""


class EngineError(Exception):
    """The container engine refused, failed or is not there."""


class EngineUnavailableError(EngineError):
    """No engine answers: not installed, not running, or no permission to its socket."""


class RepositoryError(Exception):
    """A git repository that is missing, empty, moved, or lacks the branch."""


class BuildError(Exception):
    """A build that failed, with the command and its exit code where they are known."""

    def __init__(self, message: str, *, command: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.command = command
        self.exit_code = exit_code


class StoreError(Exception):
    """The state directory is in use, corrupt, or from a newer version."""


class AddressInUseError(Exception):
    """A port of ours is taken; the message names it and its holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a file: `line` counts from 1, 0 when unknown."""

    file: str
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}" + (f" ({self.key})" if self.key else "")


class ConfigurationError(Exception):
    """A configuration file that cannot be used, naming file, line, key and what was expected."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message

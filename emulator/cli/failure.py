"""How the command line says that something did not work: one line, and what to do next."""

from typing import IO, Any

import click


class Failure(click.ClickException):
    """Exit code 1; `then` is the next step, best a command to copy."""

    def __init__(self, message: str, then: str = "") -> None:
        super().__init__(message)
        self.then = then

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"{click.style('Error:', fg='red')} {self.message}", file=file, err=True)
        if self.then:
            click.echo(self.then, file=file, err=True)

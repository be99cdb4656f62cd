"""`apprunner doctor`."""

import sys
from collections.abc import Sequence
from typing import Protocol

import click

from emulator.cli import context, terminal


class Finding(Protocol):
    """One check's answer; `remedy` is a command."""

    @property
    def check(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def detail(self) -> str: ...
    @property
    def remedy(self) -> str: ...
    @property
    def fixable(self) -> bool: ...
    @property
    def required(self) -> bool: ...


@click.command(help="What is missing on this machine, and the command that mends it.")
@click.option("--fix", is_flag=True, help="Mend what can be mended.")
@click.option("--quiet", is_flag=True, help="Only problems, and what was done about them.")
@context.json_option
def command(*, fix: bool, quiet: bool, as_json: bool) -> None:
    from emulator import bootstrap  # noqa: PLC0415 - everything is behind it

    findings: Sequence[Finding] = bootstrap.doctor(context.settings(), fix=fix, say=terminal.note)
    if as_json:
        terminal.document([_view(finding) for finding in findings])
    else:
        _show([f for f in findings if not quiet or (f.required and not f.ok)])
    if not all(finding.ok or not finding.required for finding in findings):
        sys.exit(1)


def _view(finding: Finding) -> dict[str, object]:
    return {
        "Check": finding.check,
        "Ok": finding.ok,
        "Detail": finding.detail,
        "Remedy": finding.remedy,
        "Fixable": finding.fixable,
        "Required": finding.required,
    }


def _show(findings: Sequence[Finding]) -> None:
    width = max((len(f.check) for f in findings), default=0)
    for finding in findings:
        mark = _mark(finding)
        click.echo(f"{mark} {finding.check.ljust(width)}  {finding.detail}")
        if not finding.ok and finding.remedy:
            by_itself = "  (or: apprunner doctor --fix)" if finding.fixable else ""
            click.echo(f"  {' ' * width}  → {finding.remedy}{by_itself}")


def _mark(finding: Finding) -> str:
    if finding.ok:
        return click.style("✓", fg="green")
    return click.style("✗", fg="red") if finding.required else click.style("!", fg="yellow")

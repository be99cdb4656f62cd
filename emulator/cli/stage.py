"""How the demo looks: rich on a terminal, plain lines elsewhere."""

from rich.console import Console
from rich.text import Text

from emulator.cli import clock


class Stage:
    """Numbered chapters with facts below them."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._begin = clock.elapsed()
        self._chapter = 0

    def chapter(self, title: str) -> None:
        self._chapter += 1
        head = f"{self._chapter}. {title}"
        self._console.print()
        if self._console.is_terminal:
            self._console.rule(Text(head, style="bold cyan"), align="left")
        else:
            self._console.print(head, markup=False)

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"  {text}", style=style))

    def fact(self, text: str) -> None:
        """What was proven."""
        self.say(f"✓ {text}", "green")

    def seconds(self) -> float:
        """Since the curtain rose."""
        return clock.elapsed() - self._begin

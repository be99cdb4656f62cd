"""What to do, as pure functions of what is known: no loop, no clock, no outside world."""

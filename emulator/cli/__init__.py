"""The `apprunner` command: one file per command."""

"""`python -m emulator` is `apprunner`."""

from emulator.cli.main import main

if __name__ == "__main__":
    main(prog_name="apprunner")

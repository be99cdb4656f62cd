"""The words of the domain as frozen values: no input, no output, no clock."""

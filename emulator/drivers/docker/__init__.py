"""The Docker Engine behind the ports."""

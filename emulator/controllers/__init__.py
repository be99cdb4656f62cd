"""The loops that carry decisions out through the ports, one serial worker per service."""

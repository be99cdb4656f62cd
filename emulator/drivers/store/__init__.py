"""Desired state and journal in SQLite."""

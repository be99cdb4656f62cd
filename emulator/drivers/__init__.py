"""The outside world behind the ports: Docker, git, SQLite, the file system, certificates."""

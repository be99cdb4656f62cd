"""HTTP endpoints for tools: the emulator's own and, on the same port, the AWS API."""

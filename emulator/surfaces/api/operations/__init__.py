"""App Runner's 37 operations, by resource: members in, members out."""

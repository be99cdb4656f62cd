"""The emulator's own registry, which stands for ECR: distribution's, run by us over our storage.

A process and not a container: Debian has the program where no registry has the image, and what
listens on the host's loopback is what `docker push localhost:…` takes without TLS. It begins and
ends with the emulator; what was pushed stays in the state directory.
"""

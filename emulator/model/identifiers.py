"""Names for the strings and numbers that must not be mixed up."""

from typing import NewType

ServiceId = NewType("ServiceId", str)  # 32 hex digits, the last part of the service's ARN
InstanceId = NewType("InstanceId", str)  # 32 hex digits, the name of its log stream
OperationId = NewType("OperationId", str)  # a dashed UUID
RevisionId = NewType("RevisionId", str)  # "r7": the service's seventh; internal to the emulator
Epoch = NewType("Epoch", float)  # seconds since 1970-01-01 UTC
Seconds = NewType("Seconds", float)

"""The AWS API: its own speed, what it costs the load balancer, and from create-service to running."""

import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/apprunner/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=0",
}
IMAGE = "apprunner-bench-api:dev"
SERVICES = 30


class Api:
    """One keep-alive connection."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def __call__(self, operation: str, **members):
        headers = HEADERS | {"X-Amz-Target": f"AppRunner.{operation}"}
        self._connection.request("POST", "/", json.dumps(members), headers)
        answer = self._connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{operation}: {answer.status} {body}")
        return body

    def timed(self, operation: str, times: int, **members) -> list[float]:
        took = []
        for _ in range(times):
            began = time.perf_counter()
            self(operation, **members)
            took.append(time.perf_counter() - began)
        return took


def image_source() -> dict:
    return {
        "SourceConfiguration": {
            "ImageRepository": {"ImageIdentifier": IMAGE, "ImageRepositoryType": "ECR"},
            "AutoDeploymentsEnabled": False,
        }
    }


@contextmanager
def image(base: str, app: Path):
    """The sample as an image of its own."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "app.py").write_bytes((app / "app.py").read_bytes())
        (Path(directory) / "version.txt").write_text("0\n")
        (Path(directory) / "Dockerfile").write_text(
            f'FROM {base}\nWORKDIR /app\nCOPY . .\nCMD ["python3", "app.py"]\n'
        )
        build = ["docker", "build", "-q", "-t", IMAGE, directory]
        subprocess.run(build, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "rmi", "-f", IMAGE], check=False, capture_output=True)


def running(api: Api, arn: str, within: float = 120.0) -> None:
    end = time.perf_counter() + within
    while api("DescribeService", ServiceArn=arn)["Service"]["Status"] != "RUNNING":
        if time.perf_counter() > end:
            raise SystemExit(f"{arn} does not run")
        time.sleep(0.01)


# -- describes beside a build --------------------------------------------------------------------


async def describe_at_once(address: str, arn: str, clients: int, rounds: int) -> None:
    """`clients` connections, all asking in the same moment, `rounds` times."""
    parts = urlsplit(address)
    body = json.dumps({"ServiceArn": arn}).encode()
    headers = HEADERS | {"X-Amz-Target": "AppRunner.DescribeService", "Host": parts.netloc}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    opened = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(clients)]

    async def ask(reader, writer) -> None:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in answer.lower().splitlines()
            if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        if b" 200 " not in answer[:20]:
            raise SystemExit(answer.decode())

    for _ in range(rounds):
        await asyncio.gather(*(ask(*each) for each in opened))
        await asyncio.sleep(1)
    for _, writer in opened:
        writer.close()


def proxied(port: int, stop: threading.Event) -> list[float]:
    """Requests through the load balancer, one after the other, as long as it takes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took = []
    while not stop.is_set():
        began = time.perf_counter()
        connection.request("GET", "/version")
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
        time.sleep(0.002)
    connection.close()
    return took


def while_doing(port: int, work) -> list[float]:
    stop, took = threading.Event(), []
    thread = threading.Thread(target=lambda: took.extend(proxied(port, stop)))
    thread.start()
    try:
        work()
    finally:
        stop.set()
        thread.join()
    return took


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1000


def ask_from_elsewhere(address: str, arn: str, rounds: int) -> None:
    """In another process, so that the client's own work is not measured."""
    subprocess.run(
        [sys.executable, "-m", "bench.api", address, arn, "200", str(rounds)],
        check=True,
        cwd=Path(__file__).resolve().parent.parent,
    )


if __name__ == "__main__":
    asyncio.run(describe_at_once(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

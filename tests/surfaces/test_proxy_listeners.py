"""Listeners: names over TLS, the redirect, a port per service, taken ports, stopping."""

import asyncio
import errno
import os
import socket
import ssl
import threading
import warnings

import pytest

from emulator.controllers.balancer import Balancer
from emulator.controllers.router import Router
from emulator.drivers.certificates import Certificates
from emulator.model.identifiers import ServiceId
from emulator.model.settings import Addresses
from emulator.surfaces.proxy.listener import PortTakenError, Proxy
from emulator.surfaces.proxy.port_holder import holder_of
from tests.surfaces.proxy_world import CLOCK, HOST, SERVICE, App, Asked, World, until, world


async def https(w: World, name: str, *, host: str | None = None) -> tuple[int, bytes]:
    client = await w.connect(w.proxy.https_port, name=name)
    client.send(f"GET / HTTP/1.1\r\nHost: {host or name}:{w.proxy.https_port}\r\n\r\n")
    answer = await client.answer()
    client.close()
    return answer.status, answer.body


@pytest.mark.parametrize("name", [HOST, "hello.localhost"])
async def test_a_service_answers_over_tls_under_each_of_its_names(tmp_path, name):
    app = App()
    async with world(tmp_path, app) as w:
        assert await https(w, name) == (200, b"hello")
        assert await https(w, name.upper()) == (200, b"hello")
    assert app.asked[0].header("x-forwarded-proto") == "https"
    assert app.asked[0].header("host") == f"{name}:{w.proxy.https_port}"


async def test_a_body_larger_than_what_is_decrypted_at_once_comes_through_whole(tmp_path):
    body = bytes(range(256)) * 4096
    async with world(tmp_path, App()) as w:
        clients = [await w.connect(w.proxy.https_port, name=HOST) for _ in range(2)]
        for client in clients:  # both at once: they share what is read into
            client.post(body)
        for client in clients:
            assert (await client.answer()).body == body


async def test_a_client_without_a_server_name_gets_the_certificate_of_localhost(tmp_path):
    async with world(tmp_path, App()) as w:
        assert (await https(w, "127.0.0.1", host=HOST))[0] == 200


@pytest.mark.parametrize("offered", [[], ["http/1.1"], ["http/1.1", "h3"]])
async def test_a_client_without_http_2_is_spoken_to_in_http_1(tmp_path, offered):
    async with world(tmp_path, App()) as w:
        trusting = await asyncio.to_thread(
            ssl.create_default_context, cafile=w.certificates.ca_file
        )
        if offered:
            trusting.set_alpn_protocols(offered)
        client = await w.connect(w.proxy.https_port, name=HOST, context=trusting)
        tls = client.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == (offered[0] if offered else None)
        client.get()
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_tls_session_is_resumed(tmp_path, version):
    async with world(tmp_path, App()) as w:
        trusting = await asyncio.to_thread(
            ssl.create_default_context, cafile=w.certificates.ca_file
        )
        trusting.minimum_version = trusting.maximum_version = version

        def visit(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
            with (
                socket.create_connection(("127.0.0.1", w.proxy.https_port), timeout=5) as plain,
                trusting.wrap_socket(plain, server_hostname=HOST, session=session) as tls,
            ):
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                assert tls.recv(4096).startswith(b"HTTP/1.1 200")
                return bool(tls.session_reused), tls.session

        reused, session = await asyncio.to_thread(visit, None)
        assert not reused
        assert (await asyncio.to_thread(visit, session))[0]


async def test_tls_1_1_is_refused(tmp_path):
    async with world(tmp_path, App()) as w:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        with warnings.catch_warnings(action="ignore"):  # also the test's client thinks it is old
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await w.connect(w.proxy.https_port, name=HOST, context=old)


async def test_certificates_are_made_before_anybody_asks(tmp_path):
    made = set()

    class Noted(Certificates):
        def context(self, server_name: str | None) -> ssl.SSLContext:
            made.add((server_name, threading.current_thread() is threading.main_thread()))
            return super().context(server_name)

    certificates = Noted(tmp_path, CLOCK)
    await certificates.load()
    router = Router()
    async with Proxy(router, certificates, Addresses(https_port=0, http_port=0), CLOCK) as proxy:
        router.add(SERVICE, [HOST], None)
        await until(lambda: (HOST, False) in made)
        assert proxy.connections == 0


async def test_a_certificate_that_cannot_be_made_ahead_does_not_end_the_load_balancer(
    tmp_path, caplog
):
    class Failing(Certificates):
        def context(self, server_name: str | None) -> ssl.SSLContext:
            if threading.current_thread() is not threading.main_thread() and server_name == HOST:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().context(server_name)

    certificates = Failing(tmp_path, CLOCK)
    await certificates.load()
    router = Router()
    async with Proxy(router, certificates, Addresses(https_port=0, http_port=0), CLOCK) as proxy:
        router.add(SERVICE, [HOST], None)
        await until(lambda: "Too many open files" in caplog.text)
        trusting = ssl.create_default_context(cafile=certificates.ca_file)
        _, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.https_port, ssl=trusting, server_hostname=HOST
        )
        writer.close()


async def test_plain_http_on_the_tls_port_and_silence_do_no_harm(tmp_path):
    async with world(tmp_path, App()) as w:
        client = await w.connect(w.proxy.https_port)
        client.get()
        assert await client.ended()
        await w.connect(w.proxy.https_port)
        assert await https(w, HOST) == (200, b"hello")


async def test_who_has_yet_to_shake_hands_counts_as_connected(tmp_path):
    async with world(tmp_path, App(), front={"connections": 3}) as w:
        silent = [await w.connect(w.proxy.https_port) for _ in range(3)]
        await until(lambda: w.proxy.connections == 3)
        assert await (await w.connect(w.proxy.https_port)).ended()
        silent[0].close()
        silent[1].send("this is not TLS")
        assert await silent[1].ended()
        await until(lambda: w.proxy.connections == 1)
        assert await https(w, HOST) == (200, b"hello")
        await w.proxy.stop(0)
        assert await silent[2].ended()


@pytest.mark.documented(source="roadmap issues 37, 231, 257: 301, the same path")
@pytest.mark.parametrize("host", [HOST, f"{HOST}:8480", "unknown.localhost"])
async def test_plain_http_is_redirected_to_https(tmp_path, host):
    async with world(tmp_path) as w:
        client = await w.connect(w.proxy.http_port)
        for _ in range(2):
            client.send(f"GET /a%20b?c=d&e HTTP/1.1\r\nHost: {host}\r\n\r\n")
            answer = await client.answer()
            name = host.partition(":")[0]
            assert answer.status == 301
            assert answer.header("location") == f"https://{name}:{w.proxy.https_port}/a%20b?c=d&e"


async def test_a_redirect_without_a_host_has_nowhere_to_go(tmp_path):
    async with world(tmp_path) as w:
        client = await w.connect(w.proxy.http_port)
        client.send("GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).status == 400


# A service's own port.


async def test_a_services_own_port_needs_no_host_name(tmp_path):
    app = App()
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.send("GET / HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n")
        assert (await client.answer()).status == 200
    assert app.asked[0].header("host") == "127.0.0.1:9"


async def test_a_door_that_is_open_stays_where_it_is(tmp_path):
    async with world(tmp_path, App()) as w:
        assert await w.proxy.doors.open(SERVICE, 0) == w.port
        await w.proxy.doors.close(SERVICE)
        await w.proxy.doors.close(SERVICE)
        with pytest.raises(ConnectionRefusedError):
            await w.connect()
        assert await w.proxy.doors.open(SERVICE, w.port) == w.port
        assert (await w.ask()).status == 200


async def test_a_taken_port_is_replaced_by_a_free_one(tmp_path):
    async with world(tmp_path, App()) as w:
        other = ServiceId("other")
        port = await w.proxy.doors.open(other, w.port)
        assert port not in {0, w.port}
        client = await w.connect(port)
        client.get()
        assert (await client.answer()).status == 404  # the door of a service that is not there


# Ports that are taken.


def proxy_on(port: int) -> Proxy:
    class NoCertificates:
        def context(self, server_name: str | None) -> ssl.SSLContext:
            del server_name
            return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    addresses = Addresses(https_port=0, http_port=port)
    return Proxy(Router(), NoCertificates(), addresses, CLOCK)


async def test_a_taken_port_is_an_error_that_names_the_port_and_its_holder():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxy = proxy_on(port)
        with pytest.raises(PortTakenError, match=f"port {port} is in use by .*{os.getpid()}"):
            await proxy.start()
        with pytest.raises(ConnectionRefusedError):  # nothing was left half open
            await asyncio.open_connection("127.0.0.1", proxy.https_port)
    await proxy.stop()


def test_nobody_holds_a_free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert holder_of(port) == ""


def test_without_the_kernels_tables_the_holder_is_not_known(tmp_path):
    assert holder_of(80, proc=tmp_path) == ""


# Stopping.


async def test_stopping_lets_requests_end_and_takes_no_more(tmp_path):
    release = asyncio.Event()

    async def behaviour(asked: Asked) -> None:
        await release.wait()
        asked.reply(b"done")

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        idle, busy = await w.connect(), await w.connect()
        idle.get()
        busy.get()
        await until(lambda: len(app.asked) == 2)
        release.set()
        await idle.answer()
        release.clear()
        await busy.answer()
        busy.get()
        await until(lambda: len(app.asked) == 3)
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(idle.ended())
            answered = group.create_task(busy.answer())
            asyncio.get_running_loop().call_later(0.05, release.set)
            await w.proxy.stop(5)
        assert ended.result()
        assert answered.result().body == b"done"
        assert await busy.ended()
        with pytest.raises(ConnectionRefusedError):
            await w.connect()


async def test_stopping_does_not_wait_longer_than_its_grace(tmp_path):
    async def behaviour(_asked: Asked) -> None:
        await asyncio.Event().wait()

    app = App(behaviour)
    async with world(tmp_path, app) as w:
        client = await w.connect()
        client.get()
        await until(lambda: app.asked)
        await w.proxy.stop(0.05)
        assert await client.ended()
        assert w.at_rest
        await w.proxy.stop(0)  # again


async def test_a_bug_ends_one_connection_and_not_the_proxy(tmp_path, caplog):
    class Broken(Router):
        broken = True

        def by_service(self, service: ServiceId) -> Balancer | None:
            if self.broken:
                raise ZeroDivisionError
            return super().by_service(service)

    async with world(tmp_path, App()) as w:
        broken = Broken()
        broken.add(SERVICE, [HOST], w.balancer)
        w.proxy._forwarder._router = broken
        client = await w.connect()
        client.get()
        assert await client.ended()
        assert "could not be handled: GET /" in caplog.text
        broken.broken = False
        assert (await w.ask()).status == 200

"""The plain HTTP port: everything is somewhere else, under HTTPS."""

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from emulator.controllers.router import normalise
from emulator.surfaces.proxy.errors import Local
from emulator.surfaces.proxy.floor import Requester
from emulator.surfaces.proxy.framing import origin_form

_HTTPS = 443


class Redirect:
    """301 to the same host and path, as App Runner does; `port` is the HTTPS listener's."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def handle(
        self, client: Requester, message: RawRequestMessage, body: StreamReader
    ) -> bool:
        keep = not message.should_close and not message.upgrade and body.is_eof()
        host = normalise(str(message.headers.get("Host", "")))
        if not host or message.method == "CONNECT":
            client.answer(Local(400), head_only=False, keep=False)
            return False
        authority = host if self._port == _HTTPS else f"{host}:{self._port}"
        location = f"https://{authority}{origin_form(message.path)}"
        moved = Local(301, headers=(("location", location),))
        client.answer(moved, head_only=message.method == "HEAD", keep=keep)
        return keep

"""For tests of the operator's page: the node, and a page without a browser."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from resfit_policy.testing import NodeProcess, Probe


def start(folder: Path, **parameters: Any) -> tuple[NodeProcess, str]:
    """A node at a free port, and the link that it prints."""
    node = NodeProcess(folder, 'resfit_policy', 'web_node', port=0, **parameters)
    end = time.monotonic() + 60.0
    while not (found := re.search(r'page: (http://\S+)', node.output)):
        assert node.process.poll() is None and time.monotonic() < end, node.output
        time.sleep(0.05)
    return node, found[1].replace('://0.0.0.0', '://127.0.0.1')


class Page:
    """What a page of the given link hears, and says."""

    def __init__(self, url: str, probe: Probe, name: str = 'ana') -> None:
        self.probe, self.name = probe, name
        self.loop = asyncio.new_event_loop()
        self.texts: list[str] = []
        self.pictures: list[tuple[int, bytes]] = []
        self.draws = True  # and says so
        self.closed = 0  # code
        self.session, self.socket = self.loop.run_until_complete(self._connect(url.replace('/?', '/socket?')))

    async def _connect(self, url: str) -> tuple[ClientSession, ClientWebSocketResponse]:
        session = ClientSession()
        return session, await session.ws_connect(url if '/socket' in url else f'{url}socket')

    @property
    def state(self) -> dict[str, Any]:
        """The newest."""
        return next((item for text in reversed(self.texts) if 'refused' not in (item := json.loads(text))), {})

    def until(self, true: Callable[[], Any], timeout: float = 60.0) -> None:
        """Listen until ``true()``, while the probe spins."""
        end = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < end, f'not within {timeout} s; newest {self.texts[-1:]}'
            self.listen(0.05)

    def listen(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        while not self.closed and (left := end - time.monotonic()) > 0:
            self.loop.run_until_complete(self._receive(min(left, 0.02)))
            self.probe.spin(0.001)

    async def _receive(self, seconds: float) -> None:
        try:
            message = await self.socket.receive(seconds)
        except TimeoutError:
            return
        if message.type == WSMsgType.TEXT:
            self.texts.append(message.data)
        elif message.type == WSMsgType.BINARY:
            self.pictures.append((message.data[0], message.data[1:]))
            if self.draws:
                await self.socket.send_json({'drawn': message.data[0]})
        else:
            self.closed = self.socket.close_code or 1006

    def do(self, action: str, **more: Any) -> None:
        """Give a command, as the page would after the newest state."""
        state = self.state
        self.send({'do': action, 'name': self.name, 'at': state['t'], 'episode': state['labels'], **more})

    def send(self, message: Any) -> None:
        """Send anything."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.loop.run_until_complete(self.socket.send_str(text))

    def close(self) -> None:
        """Close the page."""
        self.loop.run_until_complete(self.session.close())
        self.loop.close()


def ask(url: str, **headers: str) -> tuple[int, str]:
    """Status and text of an answer; ``Upgrade`` asks for a WebSocket."""

    async def get() -> tuple[int, str]:
        async with ClientSession() as session, session.get(url, headers=headers) as answer:
            return answer.status, await answer.text()

    return asyncio.run(get())

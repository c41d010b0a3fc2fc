"""Serves the operator's page in a thread of its own: one HTML file, and a WebSocket with state, pictures and commands.

A viewer has no queue. What waits for it is the newest state and the newest picture of each camera, and a picture is
sent once the page has drawn all but ``WINDOW`` of those before it: a slow page sees fewer pictures, not older ones.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from typing import Any

from aiohttp import WSMsgType, web

from resfit_policy.desk import ACTIONS
from resfit_policy.web_access import Access, Refused

WINDOW = 2  # pictures of a camera on their way to a page
MAX_VIEWERS = 8
FRESH = 3.0  # s, age of what an operator saw when a command was given; the page has a state twice a second
NAME = 40  # characters of an operator's name
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
}


@dataclass(frozen=True)
class Command:
    """What somebody wants."""

    action: str  # one of desk.ACTIONS, or 'authority'
    name: str  # who
    episode_id: int = 0  # that a label is for
    authority: float = 0.0


def read_command(message: Mapping[str, Any], now: float) -> Command:
    """A page's message as a command, at ``now`` s of the clock that ``PageServer.show`` writes into a state.

    Raises ValueError, with a text for the operator, for one that is malformed or comes too late to be meant.
    """
    action, episode_id = str(message.get('do')), message.get('episode', 0)
    name = ''.join(letter for letter in str(message.get('name', '')) if letter.isprintable()).strip()[:NAME] or 'page'
    if action == 'stop':  # whatever else is wrong with it
        return Command(action, name)
    if action not in (*ACTIONS, 'authority'):
        raise ValueError(f'refused: nothing is called {action}; reload the page')
    if type(episode_id) is not int or not 0 <= episode_id < 2**64:
        raise ValueError(f'refused: {episode_id} is no number of an episode')
    authority, seen = (_number(message.get(key, 0.0)) for key in ('authority', 'at'))
    if not now - FRESH <= seen <= now:
        raise ValueError(f'refused: {action} came {now - seen:.0f} s after the state that it was an answer to')
    return Command(action, name, episode_id, authority)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f'refused: {value} is no number')
    return float(value)


@dataclass(eq=False)
class Viewer:
    """What one page has yet to get."""

    state: str = ''
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=8))  # what was refused
    pictures: dict[int, bytes] = field(default_factory=dict)
    flying: dict[int, int] = field(default_factory=dict)  # pictures of each camera that it has not drawn yet
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, camera: int) -> bool:
        return self.flying.get(camera, 0) < WINDOW


class PageServer:
    """Page, viewers and their commands. ``show``, ``picture`` and ``close`` are for other threads."""

    def __init__(
        self,
        listener: socket.socket,
        access: Access,
        page: bytes,
        on_command: Callable[[Command], None],
        on_viewers: Callable[[], None],
    ) -> None:
        """``on_command`` and ``on_viewers`` are called in the server's thread and must return at once."""
        self._listener, self._access, self._page = listener, access, page
        self._on_command, self._on_viewers = on_command, on_viewers
        self._viewers: set[Viewer] = set()
        self._state = ''
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        ready = Event()
        self._thread = Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait(10.0)

    @property
    def viewers(self) -> int:
        """Open pages."""
        return len(self._viewers)

    def wanted(self, camera: int) -> bool:
        """Whether somebody is ready for another picture of that camera."""
        return any(viewer.wants(camera) for viewer in tuple(self._viewers))

    def show(self, state: Mapping[str, Any]) -> None:
        """Send everybody the state, with the time at which it was one."""
        text = json.dumps({**state, 't': round(monotonic(), 3)})
        self._loop.call_soon_threadsafe(self._show, text)

    def picture(self, camera: int, jpeg: bytes) -> None:
        """Send a picture to all who are ready for one."""
        self._loop.call_soon_threadsafe(self._picture, camera, bytes([camera]) + jpeg)

    def close(self) -> None:
        """Say goodbye to everybody and end the thread."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(5.0)

    async def _serve(self, ready: Event) -> None:
        application = web.Application(middlewares=[self._guard], client_max_size=4096)
        application.add_routes([web.get('/', self._on_page), web.get('/socket', self._on_socket)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, self._listener).start()
        ready.set()
        await self._ended.wait()
        await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            self._access.check(request.host, request.headers.get('Origin'), request.query.get('token'))
        except Refused as refused:
            return web.Response(status=refused.status, text=f'{refused}\n', headers=HEADERS)
        response: web.StreamResponse = await handler(request)
        return response

    async def _on_page(self, request: web.Request) -> web.Response:
        return web.Response(body=self._page, content_type='text/html', charset='utf-8', headers=HEADERS)

    async def _on_socket(self, request: web.Request) -> web.StreamResponse:
        if len(self._viewers) >= MAX_VIEWERS:
            return web.Response(status=503, text=f'{MAX_VIEWERS} pages are open: close one\n')
        connection = web.WebSocketResponse(
            heartbeat=4.0, timeout=1.0, compress=False, max_msg_size=4096, writer_limit=2**14
        )
        await connection.prepare(request)
        viewer = Viewer(state=self._state)
        viewer.wake.set()
        self._viewers.add(viewer)
        self._on_viewers()
        talks = [asyncio.create_task(talk) for talk in (self._send(connection, viewer), self._part(connection))]
        try:
            async for message in connection:
                if message.type != WSMsgType.TEXT:
                    break
                self._hear(viewer, message.data)
        finally:
            self._viewers.discard(viewer)
            self._on_viewers()
            for talk in talks:
                talk.cancel()
        return connection

    async def _send(self, connection: web.WebSocketResponse, viewer: Viewer) -> None:
        """State first, then a picture of each camera; what is newer by then takes the place of what waits."""
        try:
            while True:
                await viewer.wake.wait()
                viewer.wake.clear()
                while viewer.notes:
                    await connection.send_str(viewer.notes.popleft())
                if viewer.state:
                    text, viewer.state = viewer.state, ''
                    await connection.send_str(text)
                for camera in tuple(viewer.pictures):
                    viewer.flying[camera] = viewer.flying.get(camera, 0) + 1
                    await connection.send_bytes(viewer.pictures.pop(camera))
        except ConnectionError:
            pass  # whoever reads from it hears of that, too

    async def _part(self, connection: web.WebSocketResponse) -> None:
        await self._ended.wait()
        await connection.close(code=1001)

    def _hear(self, viewer: Viewer, text: str) -> None:
        try:
            message = json.loads(text)
            if not isinstance(message, dict):
                raise ValueError('refused: no message of this page; reload it')
            if 'drawn' in message:
                camera = int(_number(message['drawn']))
                if viewer.flying.get(camera):
                    viewer.flying[camera] -= 1
                return
            self._on_command(read_command(message, monotonic()))
        except (ValueError, RecursionError, OverflowError) as error:  # json's own is one of the first
            viewer.notes.append(json.dumps({'refused': str(error)}))
            viewer.wake.set()

    def _show(self, text: str) -> None:
        self._state = text
        for viewer in self._viewers:
            viewer.state = text
            viewer.wake.set()

    def _picture(self, camera: int, data: bytes) -> None:
        for viewer in self._viewers:
            if viewer.wants(camera):
                viewer.pictures[camera] = data
                viewer.wake.set()

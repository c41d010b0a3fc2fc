"""A headless Chromium with one page, driven by its DevTools protocol: to test and time the operator's page."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
DESKTOP, PHONE = (1280, 800, False), (390, 844, True)  # width, height in CSS pixels; touch


def find_browser() -> str:
    """Path of a Chromium, '' without one."""
    return next(filter(None, map(shutil.which, NAMES)), '')


class Browser:
    """The page of a browser that runs."""

    def __init__(self, devtools: ClientWebSocketResponse) -> None:
        self._devtools, self._count = devtools, 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol. Raises RuntimeError where the browser refuses it."""
        self._count += 1
        await self._devtools.send_json({'id': self._count, 'method': method, 'params': parameters})
        while True:  # events come in between
            answer = await self._devtools.receive_json(timeout=20.0)
            if answer.get('id') == self._count:
                break
        if 'error' in answer:
            raise RuntimeError(f'{method}: {answer["error"]["message"]}')
        return dict(answer['result'])

    async def open(self, url: str, view: tuple[int, int, bool] = DESKTOP, dark: bool = False) -> None:
        """Show ``url`` in a window of ``view``."""
        width, height, touch = view
        await self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=touch
        )
        await self.call('Emulation.setTouchEmulationEnabled', enabled=touch)
        scheme = [{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}]
        await self.call('Emulation.setEmulatedMedia', features=scheme)
        await self.call('Page.navigate', url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression. Raises RuntimeError where it throws."""
        answer = await self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in answer:
            raise RuntimeError(f'{script}: {answer["exceptionDetails"]}')
        return answer['result'].get('value')

    async def until(self, script: str, timeout: float = 20.0) -> Any:
        """Wait for an expression to be true. Raises TimeoutError."""
        end = monotonic() + timeout
        while not (value := await self.run(script)):
            if monotonic() > end:
                raise TimeoutError(f'not within {timeout} s: {script}')
            await asyncio.sleep(0.05)
        return value

    async def press(self, key: str) -> None:
        """A key, down and up."""
        for kind in ('keyDown', 'keyUp'):
            await self.call('Input.dispatchKeyEvent', type=kind, key=key, text=key if kind == 'keyDown' else '')

    async def click(self, selector: str) -> None:
        """The middle of an element, after scrolling there: what covers it is what is clicked."""
        await self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = f'document.querySelector({selector!r}).getBoundingClientRect()'
        x, y = await self.run(f'(r => [r.x + r.width / 2, r.y + r.height / 2])({box})')
        for kind in ('mousePressed', 'mouseReleased'):
            await self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    async def picture(self) -> bytes:
        """A PNG of what is in the window."""
        return base64.b64decode((await self.call('Page.captureScreenshot', format='png'))['data'])


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser with an empty page, ended at the end. Raises RuntimeError where none is installed, or none starts."""
    path = find_browser()
    if not path:
        raise RuntimeError(f'no browser on the path: none of {", ".join(NAMES)}')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
        options += ['--disable-background-networking', '--remote-debugging-port=0', f'--user-data-dir={folder}']
        process = subprocess.Popen(
            [path, *options, 'about:blank'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            port = await _port(Path(folder) / 'DevToolsActivePort', process)
            async with ClientSession() as session:
                async with session.get(f'http://127.0.0.1:{port}/json/list') as answer:
                    pages = [item for item in await answer.json() if item['type'] == 'page']
                url = pages[0]['webSocketDebuggerUrl']
                async with session.ws_connect(url, max_msg_size=0, autoping=True) as devtools:
                    yield Browser(devtools)
        finally:
            process.terminate()
            process.wait(10.0)


async def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    end = monotonic() + 30.0
    while monotonic() < end and process.poll() is None:
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise RuntimeError('the browser does not start')

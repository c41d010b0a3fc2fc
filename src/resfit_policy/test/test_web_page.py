"""The operator's page in a real browser, on a desk and on a phone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_reward_node import Others
from web_pages import start

from resfit_msgs.msg import EpisodeState, Reward
from resfit_policy.browser import DESKTOP, PHONE, Browser, browser, find_browser
from resfit_policy.testing import NodeProcess, Probe, nodes

pytestmark = pytest.mark.skipif(not find_browser(), reason='no Chromium on the path')
PHASE = "document.querySelector('#phase').textContent"
TOP = """(() => {
  const box = document.querySelector('#stop').getBoundingClientRect()
  const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)
  return top.id === 'stop' && box.bottom <= innerHeight && box.height >= 72
})()"""
SMALL = """[...document.querySelectorAll('button')].filter(item => {
  const box = item.getBoundingClientRect()
  return box.height && (box.height < 40 || box.width < 40 || box.x < 0 || box.right > innerWidth)
}).map(item => item.id)"""


async def phase(page: Browser, wanted: str) -> None:
    await page.until(f'{PHASE} === {wanted!r}')


async def use(url: str, web: NodeProcess, others: Others) -> None:
    """One session: at a desk with keys and mouse, then on a phone, then the node ends."""
    async with browser() as page:
        await page.open(url, DESKTOP)
        await phase(page, 'SET THE SCENE')
        await page.until("!document.querySelector('#warnings').textContent.includes('streamer_node is not there')")
        await page.run("document.querySelector('#name').focus()")
        for letter in 'sana ':  # keys of labels among them, which are text here; and space, which always stops
            await page.press(letter)
        assert await page.run("document.querySelector('#name').value") == 'sana', 'a name has no spaces'
        await page.run("document.querySelector('#name').blur()")
        await phase(page, 'STOPPED')
        await page.click('#release')
        await page.until("!document.querySelector('#sure').hidden")
        assert await page.run(PHASE) == 'STOPPED', 'one press let the robot go'
        await page.click('#sure')
        await phase(page, 'SET THE SCENE')

        await page.press('r')
        await phase(page, 'RUNNING')
        state = others.phase(EpisodeState.RUNNING)
        for step in range(2):
            others.step(state, step)
        await page.until("document.querySelector('#labelled').textContent === 'Label: ends episode 1'")
        await page.click('#success')
        await page.until("document.querySelector('#said').textContent.includes('ends at the next step')")
        others.step(state, 2)
        await phase(page, 'SUCCESS')
        await page.press('f')
        await page.until("document.querySelector('#history').textContent.includes('✗ failuresana, correction 1')")
        await page.click('#history button')
        await page.until("document.querySelector('#history').textContent.includes('✓ successsana, correction 2')")
        others.probe.until(lambda: len(others.rewards) == 3)
        assert [item.success for item in others.rewards] == [True, False, True]
        assert {item.source for item in others.rewards} == {Reward.HUMAN}

        await page.open(url, PHONE, dark=True)
        await phase(page, 'SUCCESS')
        assert await page.run("document.querySelector('#name').value") == 'sana', 'the name is forgotten'
        assert await page.run('document.documentElement.scrollWidth') <= PHONE[0]
        assert await page.run(SMALL) == []
        for place in ('0', 'document.body.scrollHeight'):
            await page.run(f'scrollTo(0, {place})')
            assert await page.run(TOP), 'the stop is not where it must be'
        await page.click('#stop')
        await phase(page, 'STOPPED')

        assert web.end() == 0
        await page.until("document.querySelector('#lost').textContent.startsWith('Connection lost')", 3.0)
        assert await page.run("[...document.querySelectorAll('button')].every(item => item.disabled)")


def test_keys_and_buttons_do_what_they_say_and_the_stop_is_always_there(tmp_path: Path, probe: Probe) -> None:
    operator = {'reset': 'operator', 'success_source': 'operator'}
    reward = NodeProcess(tmp_path, 'resfit_policy', 'reward_node', **operator)
    streamer = NodeProcess(tmp_path, 'resfit_policy', 'streamer_node', autostart=True)
    web, url = start(tmp_path)
    with nodes(web, reward, streamer):
        asyncio.run(use(url, web, Others(probe)))

"""What the operator's page costs: control step with the page closed and open, cameras, CPU of web_node.

The simulated graph in real time, cameras on. Three cases take turns, so that other work on the machine meets all of
them: nobody looks; a page without a browser, as if that ran on another machine (a phone); Chromium on this machine,
which draws with the processor and is counted to nobody.

    source setup.bash && python benchmarks/web_page.py --rounds 6 --seconds 20

With --large no graph runs: web_node alone, with cameras of 640 x 480 at 30 Hz, as robots have them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import ClientSession, WSMsgType
from graph_speed import cpu_seconds
from sensor_msgs.msg import Image

from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_msgs.msg import PolicyStep
from resfit_policy.browser import Browser, browser, find_browser
from resfit_policy.convert import to_array
from resfit_policy.ros import COMMAND, SENSOR
from resfit_policy.task import load_task
from resfit_policy.testing import NodeProcess, Probe, isolated_domain, nodes
from resfit_sim.simulation import Simulation

URL = 'http://127.0.0.1:8080/'
RATES = "[...document.querySelectorAll('figcaption')].map(item => parseFloat(item.textContent.split('·')[1]))"


class Steps:
    """Wall time between control steps of an episode, and what each took, in ms."""

    def __init__(self, probe: Probe) -> None:
        self.intervals: list[float] = []
        self.compute: list[float] = []
        self.last = (0, 0, 0.0)  # episode, step, s
        probe.node.create_subscription(PolicyStep, 'policy/step', self.hear, COMMAND)

    def hear(self, message: PolicyStep) -> None:
        now, (episode, step, then) = time.monotonic(), self.last
        self.last = (message.episode_id, message.step, now)
        self.compute.append(message.compute_ms)
        if (message.episode_id, message.step) == (episode, step + 1):
            self.intervals.append(1e3 * (now - then))


async def look(pictures: Counter[int]) -> None:
    """A page without a browser: it takes every picture and says that it is drawn."""
    async with ClientSession() as session, session.ws_connect(URL + 'socket') as page:
        async for message in page:
            if message.type == WSMsgType.BINARY:
                pictures[message.data[0]] += 1
                await page.send_json({'drawn': message.data[0]})


async def block(case: str, seconds: float, probe: Probe, shown: Browser | None) -> list[float]:
    """One case for a while; Hz of each camera on the page."""
    pictures: Counter[int] = Counter()
    viewer = asyncio.create_task(look(pictures)) if case == 'page' else None
    begun = time.monotonic()
    await asyncio.to_thread(probe.spin, seconds)
    rates = [pictures[camera] / (time.monotonic() - begun) for camera in sorted(pictures)]
    if viewer is not None:
        viewer.cancel()
    if case == 'Chromium' and shown is not None:
        rates = await shown.run(RATES)
    return rates


async def measure(arguments: argparse.Namespace, runner: Runner, probe: Probe) -> dict[str, Any]:
    steps, pid = Steps(probe), runner.pid('web_node')
    cases: dict[str, dict[str, list[Any]]] = {}
    async with AsyncExitStack() as stack:
        shown = await stack.enter_async_context(browser()) if find_browser() else None
        for _ in range(arguments.rounds):
            for case in ('closed', 'page', *(('Chromium',) if shown else ())):
                if shown is not None:
                    await shown.open(URL if case == 'Chromium' else 'about:blank')
                await asyncio.to_thread(probe.spin, 3.0)
                steps.intervals, steps.compute = [], []
                used, begun = cpu_seconds(pid), time.monotonic()
                rates = await block(case, arguments.seconds, probe, shown)
                cpu = (cpu_seconds(pid) - used) / (time.monotonic() - begun)
                found = cases.setdefault(case, {'interval': [], 'compute': [], 'hz': [], 'cpu': [], 'p99': []})
                found['interval'] += steps.intervals
                found['compute'] += steps.compute
                found['hz'] += [rates] if rates else []
                found['cpu'].append(cpu)
                found['p99'].append(float(np.percentile(steps.intervals, 99)))
    return {case: summary(found) for case, found in cases.items()}


async def measure_large(folder: Path, task: str, seconds: float) -> dict[str, Any]:
    """web_node with large cameras, closed and open."""
    simulation = Simulation(load_task(task), 'unseen')
    picture = simulation.render(load_task(task).cameras[0], 480, 640)
    simulation.close()
    image = Image(height=480, width=640, encoding='rgb8', step=3 * 640, data=to_array(picture, 'B'))
    cameras = load_task(task).cameras
    with isolated_domain(), nodes(NodeProcess(folder, 'resfit_policy', 'web_node', task=task)) as (web,):
        probe = Probe()
        publishers = [probe.node.create_publisher(Image, f'{camera}/image', SENSOR) for camera in cameras]
        probe.node.create_timer(1 / 30, lambda: [publisher.publish(image) for publisher in publishers])
        result = {}
        for case in ('closed', 'page'):
            await asyncio.to_thread(probe.spin, 3.0)
            used, begun = cpu_seconds(web.process.pid), time.monotonic()
            rates = await block(case, seconds, probe, None)
            cpu = (cpu_seconds(web.process.pid) - used) / (time.monotonic() - begun)
            result[case] = {'camera_hz': np.round(rates, 1).tolist(), 'web_node_cores': round(cpu, 4)}
        probe.close()
    return result


def measure_graph(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The simulated graph, until all turns are over."""
    options = Options(folder, arguments.task, base=arguments.base, lockstep=False, vision=True, web=True)
    with Runner(collect_graph(options)) as runner:
        probe = Probe()
        steps = probe.listen(PolicyStep, 'policy/step', COMMAND)
        probe.until(lambda: len(steps) > 50, 120.0, 'steps')
        result = asyncio.run(measure(arguments, runner, probe))
        probe.close()
    return result


def summary(found: dict[str, list[Any]]) -> dict[str, Any]:
    def spread(values: list[float]) -> dict[str, float]:
        return {f'p{share}': round(float(np.percentile(values, share)), 2) for share in (50, 99)}

    return {
        'steps': len(found['compute']),
        'compute_ms': spread(found['compute']),
        'interval_ms': spread(found['interval']),
        'interval_ms_p99_of_each_round': [round(value, 2) for value in found['p99']],
        'camera_hz': np.round(np.mean(found['hz'], 0), 1).tolist() if found['hz'] else [],
        'web_node_cores': round(float(np.mean(found['cpu'])), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', default='woolly_ball')
    parser.add_argument('--base', default='resfit_sim.experts:unseen', help='base policy folder, or module:factory')
    parser.add_argument('--rounds', type=int, default=6, help='turns of each case')
    parser.add_argument('--seconds', type=float, default=20.0, help='of each turn')
    parser.add_argument('--large', action='store_true', help='web_node alone, with large cameras')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure_large(Path(folder), arguments.task, arguments.seconds)) if arguments.large else {}
        result = result or measure_graph(Path(folder), arguments)
    result |= {'load_average': os.getloadavg()[0]}
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()

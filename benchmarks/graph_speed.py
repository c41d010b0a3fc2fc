"""Speed of the graph in lockstep with the learner idle: env steps/s, control step, CPU per process.

source setup.bash && python benchmarks/graph_speed.py --episodes 20
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from resfit_bringup.graph import Options, collect_graph
from resfit_bringup.runner import Runner
from resfit_learner.bags import STEP, episode_folders, read_messages
from resfit_msgs.msg import ReplayStatus
from resfit_policy.ros import LATCHED
from resfit_policy.testing import Probe

TICKS = os.sysconf('SC_CLK_TCK')


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', default='woolly_ball')
    parser.add_argument('--base', default='resfit_sim.experts:unseen', help='base policy folder, or module:factory')
    parser.add_argument('--episodes', type=int, default=20, help='measured, after a first one')
    parser.add_argument('--vision', action='store_true')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = Options(
            run_dir=Path(folder),
            task=arguments.task,
            base=arguments.base,
            vision=arguments.vision,
            max_episodes=arguments.episodes + 1,
        )
        graph = collect_graph(options)
        with Runner(graph) as runner:
            probe = Probe()
            status = probe.listen(ReplayStatus, 'replay/status', LATCHED)
            probe.until(lambda: status and status[-1].episodes >= 1, 120.0, 'the first episode')
            begun, first = time.monotonic(), status[-1].transitions
            before = {process.name: cpu_seconds(runner.pid(process.name)) for process in graph.processes}
            probe.until(lambda: status[-1].episodes >= arguments.episodes, 600.0, 'the last episode')
            wall = time.monotonic() - begun
            steps = status[-1].transitions - first
            cpu = {name: (cpu_seconds(runner.pid(name)) - value) / wall for name, value in before.items()}
            probe.close()
            runner.wait()
        folders = episode_folders(options.run_dir / 'episodes')[1:]
        times = [float(item.compute_ms) for _, _, path in folders for item in read_messages(path)[STEP]]
    result = {
        'env_steps_per_s': steps / wall,
        'steps': steps,
        'control_step_ms': {f'p{q}': float(np.percentile(times, q)) for q in (50, 99)} | {'max': max(times)},
        'cores_used': cpu,
        'load_average': os.getloadavg()[0],
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()

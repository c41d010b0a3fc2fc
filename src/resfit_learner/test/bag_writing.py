"""Episodes as serialised messages, for tests of log and bags."""

from __future__ import annotations

from typing import Any

import numpy as np

from resfit_learner.bags import EPISODE, REWARD, STEP, TYPES, EpisodeWriter, typestore
from resfit_policy.task import load_task

TASK = load_task('woolly_ball')
SUCCESS, TIMEOUT, RUNNING = 2, 4, 1


def _header(stamp: int) -> Any:
    types = typestore().types
    time = types['builtin_interfaces/msg/Time'](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return types['std_msgs/msg/Header'](stamp=time, frame_id='')


def step_message(episode_id: int, step: int, final: bool = False) -> Any:
    random = np.random.default_rng((episode_id, step))
    action = random.normal(size=(3, TASK.action_size)).astype(np.float32)
    return typestore().types[TYPES[STEP]](
        header=_header(step * TASK.period_ns),
        episode_id=episode_id,
        step=step,
        state=random.normal(size=TASK.state_size).astype(np.float32),
        images=np.zeros(0, np.uint8),
        image_height=0,
        image_width=0,
        features=np.zeros(0, np.float32),
        base_action=action[0],
        residual=action[1],
        executed_action=action[2],
        authority=1.0,
        weights_version=2,
        flags=8 if final else 0,
        ages=np.zeros(2, np.float32),
        compute_ms=1.0,
        chunk_age=step,
    )


def reward_message(episode_id: int, length: int, success: bool, revision: int = 0) -> Any:
    return typestore().types[TYPES[REWARD]](
        header=_header(length * TASK.period_ns),
        episode_id=episode_id,
        step=length - 1,
        success=success,
        source=0,
        confidence=1.0,
        revision=revision,
        operator_name='',
    )


def state_message(episode_id: int, phase: int, length: int) -> Any:
    return typestore().types[TYPES[EPISODE]](
        header=_header(length * TASK.period_ns),
        episode_id=episode_id,
        task=TASK.name,
        phase=phase,
        step=length,
        horizon=TASK.horizon,
        arm=1,
        seed=episode_id + 100,
        joints=list(TASK.robot.names),
    )


def messages(episode_id: int, length: int, success: bool) -> list[tuple[str, int, Any]]:
    """(topic, stamp ns, message) of one episode."""
    steps = [step_message(episode_id, k, final=not success and k == length) for k in range(length + 1)]
    end = length * TASK.period_ns
    return [
        (EPISODE, 0, state_message(episode_id, RUNNING, 0)),
        *((STEP, item.step * TASK.period_ns, item) for item in steps),
        (REWARD, end, reward_message(episode_id, length, success)),
        (EPISODE, end, state_message(episode_id, SUCCESS if success else TIMEOUT, length)),
    ]


def write(writer: EpisodeWriter, items: list[tuple[str, int, Any]]) -> None:
    for topic, stamp, message in items:
        writer.write(topic, stamp, bytes(typestore().serialize_cdr(message, TYPES[topic])))

"""A small session as bags: two policies, corrections, help, an aborted episode, and one that was cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from resfit_learner.bags import EPISODE, REWARD, TYPES, read_raw, typestore
from resfit_learner.export import write_episode
from resfit_learner.replay_log import ReplayLog
from resfit_policy.episode_log import Arm, Episode, Flag, Phase

HUMAN = 1


def add(log: ReplayLog, episode: Episode, folder: Path) -> None:
    """Append an episode, as the replay node does."""
    write_episode(folder, episode)
    writer = log.begin(episode.episode_id)
    for topic, stamp, data in read_raw(folder):
        writer.write(topic, stamp, data)
    phase = int(episode.outcome)
    log.commit(writer, episode_id=episode.episode_id, phase=phase, steps=episode.length, success=episode.success)


def correct(log: ReplayLog, episode_id: int, success: bool, revision: int) -> None:
    """Append a person's correction."""
    entry, store = log.find(episode_id), typestore()
    assert entry is not None
    there = {topic: store.deserialize_cdr(data, TYPES[topic]) for topic, _, data in read_raw(log.path(entry))}
    reward = there[REWARD]
    reward.success, reward.revision, reward.source = success, revision, HUMAN
    reward.operator_name = 'ana' if revision == 2 else ''
    raw = [(topic, 1, bytes(store.serialize_cdr(there[topic], TYPES[topic]))) for topic in (REWARD, EPISODE)]
    log.correct(episode_id, revision, success, raw)


def cut_off(folder: Path) -> None:
    """What a machine that lost its power in the middle of writing leaves."""
    bag = next(folder.glob('*.mcap'))
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])


def make_session(run_dir: Path, failed: Episode, solved: Episode, count: int = 24) -> Path:
    """``count`` episodes of both policies in turn; the residual succeeds more often. Returns its replay log."""
    log = ReplayLog(run_dir / 'episodes')
    for number in range(1, count + 1):
        arm = Arm(number % 2)
        won = number % 4 != 1 if arm == Arm.RESIDUAL else number % 6 == 0
        episode = solved if won else failed
        length = len(episode.state)
        flags, versions = episode.flags.copy(), np.full(length, 7 * arm)
        if number == 5:
            flags[10:30] |= np.uint8(Flag.INTERVENTION)
        if number % 3 == 0:
            flags[:6] |= np.uint8(Flag.CLIPPED)
        outcome = Phase.ABORTED if number == 8 else episode.outcome
        made = replace(
            episode, episode_id=number, arm=arm, flags=flags, weights_version=versions, outcome=outcome,
            authority=np.full(length, float(arm), np.float32), success=won and number != 8,
        )  # fmt: skip
        add(log, made, run_dir / 'made' / f'{number}')
    correct(log, 1, True, 1)
    correct(log, 1, False, 2)
    correct(log, 2, True, 1)
    log.close()
    return run_dir / 'episodes'

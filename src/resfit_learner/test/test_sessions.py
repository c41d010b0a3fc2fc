"""A bag of all topics, as "ros2 bag record --all" makes one: every episode in it, each under labels of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_writing import EPISODE, REWARD, TYPES, messages, reward_message
from rosbags.rosbag2 import StoragePlugin, Writer

from resfit_learner.bags import read_log, read_records, typestore
from resfit_policy.task import ConfigError


def record(folder: Path, items: list[tuple[str, int, object]], names: dict[str, str]) -> None:
    """Write ``items`` as another recorder would; ``names``: other topics, with the type of the one they stand for."""
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {}
        for topic in dict.fromkeys(name for name, _, _ in items):
            kind = TYPES[names.get(topic, topic)]
            topics[topic] = writer.add_connection(f'/vega/{topic}', kind, typestore=typestore())
        for topic, stamp, message in items:
            kind = TYPES[names.get(topic, topic)]
            writer.write(topics[topic], stamp, bytes(typestore().serialize_cdr(message, kind)))


def test_every_episode_has_its_own_label_whatever_an_oracle_says(tmp_path: Path) -> None:
    first, second = messages(1, 4, True), messages(2, 5, False)
    corrected = (REWARD, 10**10, reward_message(1, 4, False, revision=1))
    oracle = ('oracle', 10**10, reward_message(0, 1, True))  # of the next episode, which was not recorded any more
    again = ('recorded/reward', 10**10, reward_message(2, 5, True, revision=7))  # a replay that ran beside it
    record(tmp_path / 'bag', [*first, corrected, *second, oracle, again], {'oracle': REWARD, 'recorded/reward': REWARD})
    found = list(read_log(tmp_path / 'bag'))
    assert [(item.episode_id, item.length, item.success) for item in found] == [(1, 4, False), (2, 5, False)]


def test_an_episode_that_was_not_recorded_whole_is_named(tmp_path: Path) -> None:
    begun = [item for item in messages(1, 4, True) if not (item[0] == 'policy/step' and item[2].step < 2)]
    unlabelled = [item for item in messages(3, 4, True) if item[0] != REWARD]
    record(tmp_path / 'bag', [*begun, *messages(2, 5, False), *unlabelled], {})
    said: list[str] = []
    (whole,) = (item.episode for item in read_records(tmp_path / 'bag', said.append))
    assert whole.episode_id == 2 and len(said) == 2
    assert 'episode 1' in said[0] and 'episode 3 has no label' in said[1]
    with pytest.raises(ConfigError, match='episode 1'):  # who learns must not quietly do with less
        list(read_log(tmp_path / 'bag'))
    record(tmp_path / 'none', [item for item in begun if item[0] != EPISODE], {})
    with pytest.raises(ConfigError, match='no closed episode'):
        list(read_log(tmp_path / 'none'))

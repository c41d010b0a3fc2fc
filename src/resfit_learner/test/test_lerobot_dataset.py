"""LeRobot datasets: ours come back to the bit, others' become demonstrations, and what cannot is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_learner import TASK, make_episode

from resfit_learner.bags import read_log
from resfit_learner.demonstrations import read_demonstrations
from resfit_learner.export import append_episode
from resfit_learner.lerobot_dataset import CAMERA, EPISODES, FINAL, INFO, STATS
from resfit_learner.lerobot_dataset import DATA as PATTERN
from resfit_learner.lerobot_import import Importer, recorded_task
from resfit_learner.lerobot_reader import DatasetReader
from resfit_learner.lerobot_writer import DatasetWriter
from resfit_policy.episode_log import Arm, Episode, Phase
from resfit_policy.task import ConfigError, Task, load_task

FIRST = {'chunk_index': 0, 'file_index': 0}
DATA, ROWS = PATTERN.format(**FIRST), EPISODES.format(**FIRST)
EYES = TASK.without_poses()


def seen(episode: Episode, features: int = 0) -> Episode:
    """As a task with cameras has it."""
    random, rows = np.random.default_rng(episode.episode_id), len(episode.state)
    images = random.integers(0, 255, (rows, 2, 84, 84, 3), np.uint8)
    drawn = random.normal(size=(rows, features)).astype(np.float32)
    return replace(episode, state=np.ascontiguousarray(episode.state[:, :29]), images=images, features=drawn)


def all_kinds() -> list[Episode]:
    """Of everything that an episode may be, another value in each."""
    timeout = make_episode(3, success=False)
    return [
        replace(make_episode(1), stamp=np.arange(12) * 50_000_000 + 1_700_000_000_000_000_001),
        replace(make_episode(2).relabelled(False), arm=Arm.BASE, seed=2**31 - 1),
        replace(timeout, flags=np.arange(13, dtype=np.uint8), authority=np.linspace(0, 1, 13, dtype=np.float32)),
        make_episode(14, success=False).relabelled(True),
        make_episode(5, success=False).relabelled(True).relabelled(False),
        replace(make_episode(6, success=False), final=False, weights_version=np.full(13, 2**32 - 1)),
        make_episode(7, length=1),
    ]


def export(folder: Path, episodes: list[Episode], task: Task = TASK, file_mb: float = 100) -> Path:
    folder.mkdir(parents=True)
    writer = DatasetWriter(folder, task, episodes[0], file_mb)
    for episode in episodes:
        writer.add(episode)
    writer.close()
    return folder


def imported(folder: Path, task: Task = TASK, **options: bool) -> list[Episode]:
    return list(Importer(DatasetReader(folder), task, **options).episodes())


def assert_equal(one: Episode, two: Episode) -> None:
    for name, value in vars(one).items():
        other = getattr(two, name)
        if name == 'features' and not np.size(value):
            assert not np.size(other)
        else:
            assert np.array_equal(value, other) and np.asarray(value).dtype == np.asarray(other).dtype, name


def foreign(folder: Path, episodes: list[Episode], task: Task = TASK) -> Path:
    """A dataset that says nothing of this package."""
    export(folder, episodes, task)
    (folder / FINAL).unlink(missing_ok=True)
    change_features(folder, lambda features: {k: v for k, v in features.items() if not k.startswith('resfit.')})
    change_table(folder / DATA, lambda t: t.select([name for name in t.column_names if not name.startswith('resfit.')]))
    return folder


def change_features(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    info = json.loads((folder / INFO).read_text())
    info['features'] = change(info['features']) or info['features']
    (folder / INFO).write_text(json.dumps(info))


def change_info(folder: Path, **values: Any) -> None:
    (folder / INFO).write_text(json.dumps(json.loads((folder / INFO).read_text()) | values))


def change_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize('file_mb', [100, 1e-9])
def test_what_was_exported_comes_back_to_the_bit(tmp_path: Path, file_mb: float) -> None:
    export(tmp_path / 'set', all_kinds(), file_mb=file_mb)
    assert len(list(tmp_path.glob('set/data/*/*.parquet'))) == (1 if file_mb == 100 else len(all_kinds()))
    (tmp_path / 'log').mkdir()
    sequence = 1
    for one, two in zip(all_kinds(), imported(tmp_path / 'set'), strict=True):
        assert_equal(one, two)
        sequence = append_episode(tmp_path / 'log', sequence, two)
    for one, two in zip(all_kinds(), read_log(tmp_path / 'log'), strict=True):
        assert_equal(one, two)


@pytest.mark.parametrize('features', [0, 5])
def test_images_and_features_come_back_to_the_bit(tmp_path: Path, features: int) -> None:
    episodes = [seen(make_episode(1), features), seen(make_episode(2, success=False), features)]
    export(tmp_path / 'set', episodes, EYES)
    for one, two in zip(episodes, imported(tmp_path / 'set', EYES), strict=True):
        assert_equal(one, two)


def test_frames_say_what_was_executed_and_what_came_of_it(tmp_path: Path) -> None:
    won, lost = make_episode(1), make_episode(2, success=False)
    table = pq.read_table(export(tmp_path / 'set', [won, lost]) / DATA)
    assert np.array_equal(
        np.stack(table['action'].to_pylist()), np.vstack([won.executed_action[:12], lost.executed_action[:12]])
    )
    assert table['next.reward'].to_pylist() == [0.0] * 11 + [1.0] + [0.0] * 12
    assert table['next.done'].to_pylist() == ([False] * 11 + [True]) * 2
    assert table['next.truncated'].to_pylist() == [False] * 23 + [True]
    assert table['timestamp'].to_pylist() == pytest.approx([step / 20 for step in range(12)] * 2)
    rows = pq.read_table(tmp_path / 'set' / ROWS).to_pylist()
    assert [(row['dataset_from_index'], row['dataset_to_index']) for row in rows] == [(0, 12), (12, 24)]


def test_statistics_are_those_of_all_frames(tmp_path: Path) -> None:
    episodes = [seen(make_episode(number, length=5 + number)) for number in range(1, 4)]
    stats = json.loads((export(tmp_path / 'set', episodes, EYES) / STATS).read_text())
    actions = np.concatenate([item.executed_action for item in episodes]).astype(float)
    pixels = np.concatenate([item.images[:, 1].reshape(-1, 3) for item in episodes]) / 255
    for found, values in ((stats['action'], actions), (stats[CAMERA + 'head_right'], pixels)):
        for name in ('min', 'max', 'mean', 'std'):
            assert np.ravel(found[name]) == pytest.approx(getattr(values, name)(0))
    assert stats['action']['count'] == [21] and np.shape(stats[CAMERA + 'head_right']['q50']) == (3, 1, 1)
    assert np.ravel(stats[CAMERA + 'head_right']['q90']) == pytest.approx(np.quantile(pixels, 0.9, axis=0), abs=0.01)


def test_what_does_not_fit_in_one_dataset_is_refused(tmp_path: Path) -> None:
    for other in (replace(make_episode(2), task='other'), seen(make_episode(2))):
        with pytest.raises(ConfigError, match='dataset of each|it was recorded with'):
            export(tmp_path / str(other.task), [make_episode(1), other])


def test_episodes_of_merged_datasets_get_numbers_of_their_own(tmp_path: Path) -> None:
    export(tmp_path / 'set', [make_episode(number) for number in (4, 1, 1)])
    assert [episode.episode_id for episode in imported(tmp_path / 'set')] == [4, 1, 5]


def test_ours_know_their_task(tmp_path: Path) -> None:
    export(tmp_path / 'set', [make_episode(1)])
    assert recorded_task(DatasetReader(tmp_path / 'set')) == 'woolly_ball'
    with pytest.raises(ConfigError, match='episodes of the task woolly_ball'):
        imported(tmp_path / 'set', load_task('package_handover'))


@pytest.mark.parametrize('column', ['task', 'seed', 'stamp', 'residual'])
def test_ours_without_one_of_its_columns_is_named(tmp_path: Path, column: str) -> None:
    folder = export(tmp_path / 'set', [make_episode(1)])
    change_features(folder, lambda features: features.pop(f'resfit.{column}') and None)
    with pytest.raises(ConfigError, match=f'no column resfit.{column}'):
        imported(folder)


def test_somebody_elses_actions_are_demonstrations(tmp_path: Path) -> None:
    won, lost = make_episode(1), make_episode(2, success=False)
    folder = foreign(tmp_path / 'set', [won, lost])
    one, two = imported(folder)
    assert (one.outcome, one.length, two.outcome, two.length) == (Phase.SUCCESS, 12, Phase.TIMEOUT, 11)
    assert np.array_equal(one.base_action, won.executed_action) and not one.residual.any()
    assert np.array_equal(two.state, lost.state[:12]) and two.final
    (tmp_path / 'log').mkdir()
    for number, episode in enumerate((one, two), 1):
        append_episode(tmp_path / 'log', number, episode)
    read = read_demonstrations(TASK, tmp_path / 'log')
    assert_equal(one, read[0])
    assert_equal(two, read[1])


def test_numbers_are_found_by_their_names(tmp_path: Path) -> None:
    episode = seen(make_episode(1))
    order = np.roll(np.arange(29), 5)
    turned = replace(episode, state=episode.state[:, order], executed_action=episode.executed_action[:, order])
    folder = foreign(tmp_path / 'set', [turned], EYES)

    def rename(features: dict[str, Any]) -> None:
        names = [f'{TASK.robot.names[i]}.pos' for i in order]
        features['observation.state']['names'] = {'motors': names}
        features['action']['names'] = names

    change_features(folder, rename)
    for task in (EYES, TASK):  # one that could see objects has to do with cameras, too
        (one,) = imported(folder, task)
        assert np.array_equal(one.state, episode.state) and np.array_equal(one.executed_action, episode.executed_action)
        assert np.array_equal(one.images, episode.images)


def test_an_episode_ends_with_its_first_success(tmp_path: Path) -> None:
    folder = foreign(tmp_path / 'set', [make_episode(1)])
    at = [False] * 7 + [True] * 3 + [False] * 2
    change_table(folder / DATA, lambda t: t.set_column(t.column_names.index('next.success'), 'next.success', [at]))
    (one,) = imported(folder)
    assert one.success and one.length == 8
    (whole,) = imported(folder, all_succeed=True)
    assert whole.success and whole.length == 12


def test_without_labels_the_user_has_to_say(tmp_path: Path) -> None:
    folder = foreign(tmp_path / 'set', [make_episode(1, success=False)])
    change_features(folder, lambda f: {k: v for k, v in f.items() if k != 'next.success'})
    assert not imported(folder)[0].success
    reward = pa.array(np.linspace(0, 1, 12, dtype=np.float32))
    change_table(folder / DATA, lambda t: t.set_column(t.column_names.index('next.reward'), 'next.reward', reward))
    with pytest.raises(ConfigError, match='no yes or no: --success all'):
        imported(folder)
    change_features(folder, lambda f: {k: v for k, v in f.items() if k != 'next.reward'})
    with pytest.raises(ConfigError, match='--success all'):
        imported(folder)
    assert imported(folder, all_succeed=True)[0].success


def set_fps(folder: Path) -> None:
    change_info(folder, fps=30)


def lose_names(folder: Path) -> None:
    change_features(folder, lambda features: features['action'].update(names=None))


def rename_joint(folder: Path) -> None:
    change_features(folder, lambda features: features['action']['names'].__setitem__(3, 'elbow'))


def rename_state(folder: Path) -> None:
    change_features(folder, lambda features: features['observation.state']['names'].__setitem__(3, 'elbow'))


def rename_camera(folder: Path) -> None:
    def change(features: dict[str, Any]) -> dict[str, Any]:
        return {key.replace('head_left', 'top'): value for key, value in features.items()}

    change_features(folder, change)


def in_degrees(folder: Path) -> None:
    column = pa.array((np.stack(pq.read_table(folder / DATA)['action'].to_pylist()) * 57).tolist())
    change_table(folder / DATA, lambda t: t.set_column(t.column_names.index('action'), 'action', column))


def put_nan(folder: Path) -> None:
    values = np.stack(pq.read_table(folder / DATA)['action'].to_pylist())
    values[4, 2] = np.nan
    column = pa.array(values.tolist())
    change_table(folder / DATA, lambda t: t.set_column(t.column_names.index('action'), 'action', column))


def put_gap(folder: Path) -> None:
    values: list[Any] = pq.read_table(folder / DATA)['action'].to_pylist()
    values[4] = None
    column = pa.array(values)
    change_table(folder / DATA, lambda t: t.set_column(t.column_names.index('action'), 'action', column))


def lose_frames(folder: Path) -> None:
    change_table(folder / DATA, lambda table: table.slice(0, 20))


def mix_frames(folder: Path) -> None:
    change_table(folder / DATA, lambda table: table.take(list(reversed(range(24)))))


def lose_column(folder: Path) -> None:
    change_table(folder / DATA, lambda table: table.drop_columns(['action']))


def cut_data(folder: Path) -> None:
    data = (folder / DATA).read_bytes()
    (folder / DATA).write_bytes(data[: len(data) // 2])


def lose_data(folder: Path) -> None:
    (folder / DATA).unlink()


def lose_episode(folder: Path) -> None:
    change_table(folder / ROWS, lambda table: table.slice(1))


def lose_episodes(folder: Path) -> None:
    shutil.rmtree(folder / 'meta/episodes')


def say_video(folder: Path) -> None:
    change_features(folder, lambda features: features[CAMERA + 'head_left'].update(dtype='video'))


def cut_images(folder: Path) -> None:
    name = CAMERA + 'head_left'
    cut = [{'bytes': item['bytes'][:40], 'path': None} for item in pq.read_table(folder / DATA)[name].to_pylist()]
    change_table(folder / DATA, lambda t: t.set_column(t.column_names.index(name), name, pa.array(cut)))


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda folder: (folder / INFO).unlink(), 'no LeRobot dataset'),
        (lambda folder: (folder / INFO).write_text('{'), 'not valid JSON'),
        (lambda folder: change_info(folder, codebase_version='v2.1'), 'of format v2.1, not v3: convert'),
        (lambda folder: change_info(folder, features=[]), 'dtype and shape'),
        (lambda folder: change_info(folder, fps='fast'), 'fps fast'),
        (lambda folder: change_info(folder, total_frames=7), 'speaks of 2 episodes and 7 frames'),
        (set_fps, '30 frames per second.*20 steps'),
        (lose_names, 'does not name the numbers of action'),
        (rename_joint, 'moves elbow, which robot vega_1 does not have'),
        (rename_state, 'observation.state of the dataset lacks .* another robot'),
        (rename_camera, 'cameras top, head_right'),
        (in_degrees, 'not in rad'),
        (put_nan, 'action of episode 0 is nan at frame 4'),
        (put_gap, 'file-000.parquet cannot be read'),
        (lose_frames, 'ends 4 frames too early'),
        (mix_frames, 'not hold the 12 frames of episode 0 in order'),
        (lose_column, 'has no column action'),
        (cut_data, 'file-000.parquet cannot be read'),
        (lose_data, 'file-000.parquet is missing'),
        (lose_episode, 'meta/episodes of 1 and 12'),
        (lose_episodes, 'meta/episodes of 0 and 0'),
        (cut_images, 'cannot be decoded'),
        (say_video, 'has no column videos/observation.images.head_left/chunk_index'),
    ],
)
def test_a_bad_dataset_is_one_clear_error(tmp_path: Path, damage: Callable[[Path], Any], said: str) -> None:
    folder = foreign(tmp_path / 'set', [seen(make_episode(1)), seen(make_episode(2))], EYES)
    damage(folder)
    with pytest.raises(ConfigError, match=said) as raised:
        imported(folder, EYES)
    assert '\n' not in str(raised.value)


def test_images_of_another_size_are_scaled_only_when_asked(tmp_path: Path) -> None:
    folder = foreign(tmp_path / 'set', [seen(make_episode(1))], EYES)
    small = replace(EYES, image_size=42)
    with pytest.raises(ConfigError, match=r'84 x 84.*42 x 42: --resize'):
        imported(folder, small)
    assert imported(folder, small, resize=True)[0].images.shape == (12, 2, 42, 42, 3)


def test_lerobots_own_reader_sees_what_was_exported(tmp_path: Path) -> None:
    pytest.importorskip('lerobot', reason='lerobot is not installed here; docs/bases.md says how to')
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    episodes = [seen(make_episode(1)), seen(make_episode(2, success=False))]
    folder = export(tmp_path / 'set', episodes, EYES)
    read = LeRobotDataset('local/set', root=folder, delta_timestamps={'action': [0, 0.05]})
    assert (read.num_episodes, len(read), read.fps) == (2, 24, 20)
    for number, episode in enumerate(episodes):
        for step in range(12):
            frame = read[12 * number + step]
            assert np.array_equal(frame['observation.state'], episode.state[step])
            assert np.array_equal(frame['action'], episode.executed_action[[step, min(step + 1, 11)]])
            assert frame['next.success'] == (step == 11 and episode.success) and frame['task'] == 'woolly_ball'
            pixels = (frame[CAMERA + 'head_right'].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
            assert np.array_equal(pixels, episode.images[step, 1])
    assert read.meta.stats['action']['q50'].shape == (29,)


@pytest.mark.parametrize('dtype', ['image', 'video'])
def test_what_lerobots_own_writer_wrote_is_imported(tmp_path: Path, dtype: str) -> None:
    pytest.importorskip('lerobot', reason='lerobot is not installed here; docs/bases.md says how to')
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    joints = {'dtype': 'float32', 'shape': (29,), 'names': list(TASK.robot.names)}
    image = {'dtype': dtype, 'shape': (96, 128, 3), 'names': ['height', 'width', 'channels']}
    features = {'observation.state': joints, 'action': joints}
    features |= {CAMERA + name: image for name in EYES.cameras}
    made = LeRobotDataset.create('local/set', 20, features, root=tmp_path / 'set', use_videos=dtype == 'video')
    episodes = [make_episode(1), make_episode(2)]
    for number, episode in enumerate(episodes):
        for step in range(12):
            picture = np.full((96, 128, 3), (100 * number, 20 * step, 200), np.uint8)
            frame = {'observation.state': episode.state[step, :29], 'action': episode.executed_action[step]}
            made.add_frame({**frame, **{CAMERA + name: picture for name in EYES.cameras}, 'task': 'pick'})
        made.save_episode()
    made.finalize()
    for number, one in enumerate(imported(tmp_path / 'set', TASK, all_succeed=True, resize=True)):
        assert np.array_equal(one.executed_action, episodes[number].executed_action) and one.success
        assert one.images.shape == (12, 2, 84, 84, 3)
        wanted = np.stack([(100 * number, 20 * step, 200) for step in range(12)])
        assert np.abs(one.images[:, 1, 40, 40].astype(int) - wanted).max() <= (8 if dtype == 'video' else 0)

"""The resfit command: what it does, and one clear error for each bad input, with nothing overwritten."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from resfit_bringup import cli
from resfit_bringup.commands.bag import COMMANDS as BAG_VERBS
from resfit_bringup.commands.bag.inspect import transitions_digest
from resfit_bringup.commands.reward import COMMANDS as REWARD_VERBS
from resfit_bringup.pipeline import record_demonstrations
from resfit_learner.bags import read_log
from resfit_learner.export import append_episode, write_episode
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor
from resfit_policy.episode_log import Phase
from resfit_policy.observation import BasePolicy, Float, Observation
from resfit_policy.task import load_task
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert


@pytest.fixture(scope='module')
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'demonstrations'
    task = load_task('woolly_ball')
    env = VegaEnv('woolly_ball', variant='demonstrated')
    record_demonstrations(folder, env, task, make_expert('woolly_ball', 'demonstrated'), 4, 3)
    return folder


@pytest.fixture(scope='module')
def base(demonstrations: Path) -> Path:
    folder = demonstrations.parent / 'base'
    job = demonstrations.parent / 'job.yaml'
    job.write_text('bc: {steps: 50, hidden: [32]}\n')
    assert cli.main(['bc', '--demos', str(demonstrations), '--out', str(folder), '--job', str(job)]) == 0
    return folder


def failed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with one error line; return the line."""
    assert cli.main([str(item) for item in arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if 'error:' in line]
    assert len(errors) == 1
    return errors[0]


NESTED = {'bag': BAG_VERBS, 'reward': REWARD_VERBS}


@pytest.mark.parametrize(
    'command', [name for name in cli.COMMANDS if name not in NESTED] + [f'{a} {b}' for a in NESTED for b in NESTED[a]]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), '--help'])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ('--task', '--seed', '--json'))


def test_stopped_while_something_is_imported_it_ends_with_130(tmp_path: Path) -> None:
    """Imports make dataclasses by exec, from which the interpreter remembers an interrupt (``python -m``)."""
    (tmp_path / 'interrupted.py').write_text(
        'import sys\n'
        'from resfit_bringup import cli\n'
        'from resfit_bringup.commands import expert\n'
        "expert.run = lambda args: exec('raise KeyboardInterrupt')\n"
        "sys.exit(cli.main(['expert']))\n"
    )
    stopped = subprocess.run([sys.executable, '-m', 'interrupted'], cwd=tmp_path, capture_output=True, timeout=60)
    assert stopped.returncode == 130 and b'stopped' in stopped.stderr, stopped.stderr


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_it_from_outside_is_a_ctrl_c(number: signal.Signals) -> None:
    command = [sys.executable, '-m', 'resfit_bringup.cli', 'expert', '--episodes', '100000', '--seed', '7']
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline(), 'its progress: it is at work'
        process.send_signal(number)
        said = process.stderr.read().decode()
    assert process.returncode == 130 and 'resfit expert: stopped' in said and 'Traceback' not in said, said


def test_expert_reports_success_and_steps(tmp_path: Path) -> None:
    out = tmp_path / 'out.json'
    words = ['expert', '--task', 'woolly_ball', '--episodes', '3', '--seed', '7', '--json', str(out)]
    assert cli.main(words) == 0
    result = json.loads(out.read_text())
    assert result['n'] == 3 and result['success'] == 1.0 and 40 < result['steps'] < 120


def test_an_experiment_makes_what_it_needs_and_reuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    job = tmp_path / 'job.yaml'
    job.write_text(
        'demonstrations: 3\nbc: {steps: 50, hidden: [32]}\n'
        'learner: {heads: 2, critic_hidden: [16], utd: 0.2, warm_start: 50}\n'
    )
    words = ['experiment', '--steps', '700', '--episodes', '2', '--seed', '7', '--job', str(job)]
    results = []
    for name in ('one', 'two'):
        out = tmp_path / f'{name}.json'
        assert cli.main([*words, '--json', str(out), '--out', str(tmp_path / name)]) == 0
        results.append(json.loads(out.read_text()))
    for key in ('task', 'seed', 'env_steps', 'base', 'resfit', 'difference', 'dip', 'wall_s'):
        assert key in results[0]
    for key in ('steps', 'success'):
        assert results[0]['curve'][key] == results[1]['curve'][key]  # the same seed gives the same run
    assert results[0]['env_steps'] >= 700
    assert (tmp_path / 'one' / 'learning_curve.png').stat().st_size > 10_000
    assert len(list((tmp_path / 'cache' / 'resfit' / 'bases').iterdir())) == 1


def test_any_gymnasium_environment_can_be_improved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    job = tmp_path / 'job.yaml'
    job.write_text(
        'demonstrations: 4\nbc: {steps: 50, hidden: [16]}\n'
        'learner: {heads: 2, critic_hidden: [16], utd: 0.2, warm_start: 50}\n'
    )
    words = ['experiment', '--env', 'reach:Reach-v0', '--job', str(job), '--steps', '700', '--episodes', '8']
    out = tmp_path / 'out.json'
    assert cli.main([*words, '--json', str(out)]) == 0
    assert json.loads(out.read_text())['env_steps'] >= 700
    # Somebody else's policy as the base: goal - where, which is the expert
    given = tmp_path / 'given.safetensors'
    tensors = {'0.weight': torch.cat([torch.eye(2), -torch.eye(2)], 1), '0.bias': torch.zeros(2)}
    save_file(tensors, given, {'activation': 'relu'})
    assert cli.main([*words, '--base', str(given), '--horizon', '20', '--json', str(out)]) == 0
    result = json.loads(out.read_text())
    assert result['base']['success'] == 1.0 and result['job']['horizon'] == 20
    # ... and as the demonstrator: another one in the same file is not the one whose demonstrations are kept
    demonstrations = tmp_path / 'cache' / 'resfit' / 'demonstrations'
    kept = len(list(demonstrations.iterdir()))
    for number in (1, 2):
        save_file({**tensors, '0.bias': torch.full((2,), 0.001 * number)}, given, {'activation': 'relu'})
        assert cli.main([*words, '--expert', str(given), '--method', 'base', '--json', str(out)]) == 0
        assert len(list(demonstrations.iterdir())) == kept + number


def test_bags_are_listed_and_hashed(demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'out.json'
    assert cli.main(['bag', 'inspect', str(demonstrations), '--json', str(out)]) == 0
    assert capsys.readouterr().out.count('success') >= 4
    result = json.loads(out.read_text())
    assert result['episodes'] == result['successes'] == 4
    assert len(result['transitions']) == 64


def test_a_replay_is_equal_to_the_bit_or_says_where_it_is_not(
    demonstrations: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out.json'
    assert cli.main(['bag', 'replay', str(demonstrations), '--json', str(out)]) == 0
    result, steps = json.loads(out.read_text()), sum(episode.length for episode in read_log(demonstrations))
    assert (result['equal'], result['base_only'], result['differences']) == (steps, 0, [])
    assert result['times_real_time'] > 5  # issue 5
    capsys.readouterr()
    assert cli.main(['bag', 'replay', str(demonstrations), '--base', str(base), '--json', str(out)]) == 0
    differences = json.loads(out.read_text())['differences']
    assert [item['step'] for item in differences] == [0, 0, 0, 0]
    assert 'step 0: base_action of ' in capsys.readouterr().out
    narrow = tmp_path / 'actor.safetensors'
    narrow.write_bytes(pack_actor(ResidualActor(ActorConfig(30, 29, 2, (8,))), Exploration(), 1))
    assert 'state of 30' in failed(capsys, 'bag', 'replay', demonstrations, '--weights', narrow)


def test_policies_that_were_not_run_are_estimated_or_refused(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert '4 usable episodes with 4 successes' in failed(capsys, 'bag', 'evaluate', demonstrations)
    log, shown = tmp_path / 'log', list(read_log(demonstrations))
    for index in range(24):  # as if a base had acted alone, and each demonstrator won and lost by turns
        episode = replace(shown[index % 4].relabelled(index % 2 == 0), episode_id=index + 1)
        write_episode(log / f'{index + 1:06d}-{index + 1:06d}', episode)
    assert 'no checkpoints: give --weights' in failed(capsys, 'bag', 'evaluate', log)
    actor = tmp_path / 'actor.safetensors'
    size = shown[0].seen.shape[1] - 1
    actor.write_bytes(pack_actor(ResidualActor(ActorConfig(size, 29, 2, (8,))), Exploration(), 7))
    out = tmp_path / 'out.json'
    assert cli.main(['bag', 'evaluate', str(log), '--weights', str(actor), '--json', str(out)]) == 0
    policies = json.loads(out.read_text())['policies']
    assert policies['base alone']['happened']['n'] == 24
    assert policies['base alone']['fitted'] == policies[str(actor)]['fitted']  # it corrects nothing yet
    assert policies[str(actor)]['newer']
    assert 'newer than every recorded episode' in capsys.readouterr().out
    actor.write_bytes(pack_actor(ResidualActor(ActorConfig(30, 29, 2, (8,))), Exploration(), 7))
    assert 'another task or observation' in failed(capsys, 'bag', 'evaluate', log, '--weights', actor)


def test_a_log_goes_through_a_lerobot_dataset_to_the_bit(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, data, again = tmp_path / 'log', tmp_path / 'set', tmp_path / 'again'
    log.mkdir()
    episodes = list(read_log(demonstrations))
    write_episode(log / '000001-000001', episodes[0])
    write_episode(log / '000002-000002', replace(episodes[1], outcome=Phase.ABORTED, success=False))
    write_episode(log / '000003-000003', episodes[2])
    corrected = replace(episodes[2].relabelled(False), final=True, outcome=Phase.FAILURE)  # a time-out, twice judged
    append_episode(log, 4, replace(corrected, episode_id=4))
    kept, out = [item for item in read_log(log) if item.outcome != Phase.ABORTED], tmp_path / 'out.json'
    assert cli.main(['bag', 'to-lerobot', str(log), '--out', str(data), '--json', str(out)]) == 0
    assert json.loads(out.read_text())['aborted'] == 1 and '1 aborted ones left out' in capsys.readouterr().out
    assert cli.main(['bag', 'from-lerobot', str(data), '--out', str(again), '--json', str(out)]) == 0
    assert json.loads(out.read_text()) == {
        'episodes': 3,
        'successes': 2,
        'steps': sum(item.length for item in kept),
        'own': True,
    }
    read = list(read_log(again))
    assert [transitions_digest(item) for item in read] == [transitions_digest(item) for item in kept]
    assert [(item.episode_id, item.outcome, item.seed) for item in read] == [
        (item.episode_id, item.outcome, item.seed) for item in kept
    ]
    job = tmp_path / 'job.yaml'
    job.write_text('bc: {steps: 2, hidden: [8]}\n')
    base = ['--out', str(tmp_path / 'base'), '--job', str(job)]
    assert cli.main(['bc', '--demos', str(again), *base]) == 0
    write_episode(tmp_path / 'aborted', replace(episodes[1], outcome=Phase.ABORTED, success=False))
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob('*'))
    assert 'set already exists' in failed(capsys, 'bag', 'to-lerobot', log, '--out', data)
    assert 'again already exists' in failed(capsys, 'bag', 'from-lerobot', data, '--out', again)
    assert 'not aborted' in failed(capsys, 'bag', 'to-lerobot', tmp_path / 'aborted', '--out', tmp_path / 'new')
    assert 'labels of its own' in failed(
        capsys, 'bag', 'from-lerobot', data, '--out', tmp_path / 'new', '--success', 'all'
    )
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob('*')) == before  # and nothing is left behind


def test_two_that_record_the_same_demonstrations_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    task = load_task('woolly_ball')
    expert, folder = make_expert('woolly_ball', 'demonstrated'), tmp_path / 'kept'

    class Overtaken:
        """An expert, while another process records the same."""

        def reset(self) -> None:
            expert.reset()

        def act(self, observation: Observation) -> Float:
            if not folder.exists():
                record_demonstrations(folder, VegaEnv(task.name, variant='demonstrated'), task, make(), 1, 7)
            return expert.act(observation)

    def make() -> BasePolicy:
        return make_expert('woolly_ball', 'demonstrated')

    kept = record_demonstrations(folder, VegaEnv(task.name, variant='demonstrated'), task, Overtaken(), 1, 7)
    assert [item.episode_id for item in kept] == [1] and [path.name for path in tmp_path.iterdir()] == ['kept']
    assert kept[0].executed_action.tobytes() == next(read_log(folder)).executed_action.tobytes()


def test_in_process_bags_hold_the_episode_to_the_bit(demonstrations: Path) -> None:
    env = VegaEnv('woolly_ball', variant='demonstrated')
    again = demonstrations.with_name('again')
    fresh = record_demonstrations(again, env, env.task, make_expert('woolly_ball', 'demonstrated'), 4, 3)
    for one, two in zip(fresh, read_log(demonstrations), strict=True):
        for field, value in vars(one).items():
            assert np.array_equal(value, getattr(two, field)), field


@pytest.mark.parametrize(
    'command',
    [['expert'], ['collect', '--out', 'x'], ['experiment'], ['train', '--run', 'x'], ['evaluate', '--run', 'x']],
)
def test_a_wrong_task_is_named(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert 'woolly_ball' in failed(capsys, *command, '--task', 'wooly_ball')
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize('command', [['collect', '--out'], ['train', '--run']])
def test_rviz_without_a_display_is_refused_before_anything_is_made(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    assert 'needs a display' in failed(capsys, *command, tmp_path / 'new', '--rviz')
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('command', ['expert', 'evaluate'])
def test_impossible_numbers_and_variants_are_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert '1 or more' in failed(capsys, command, '--episodes', '0')
    assert 'demonstrated, unseen' in failed(capsys, command, '--variant', 'huge')
    with pytest.raises(SystemExit):
        cli.main([command, '--seed', '-1'])
    assert 'seed' in capsys.readouterr().err


def test_an_evaluation_is_of_what_its_run_was_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'run.json').write_text(json.dumps({'task': 'package_handover', 'job': {'variant': 'huge'}}))
    assert 'no variant "huge"' in failed(capsys, 'evaluate', '--run', tmp_path)
    actor = tmp_path / 'actor.safetensors'
    actor.write_bytes(pack_actor(ResidualActor(ActorConfig(35, 29, 2, (8,))), Exploration(), 1))
    words = ['evaluate', '--run', tmp_path, '--weights', actor, '--variant', 'unseen', '--base']
    assert 'state of 35' in failed(capsys, *words, 'resfit_sim.experts:unseen')  # a hand-over's is larger


def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / 'job.yaml'
    job.write_text('stepz: 3\n')
    assert 'unknown key "stepz"' in failed(capsys, 'train', '--job', job, '--run', tmp_path / 'run')
    assert 'unknown key "utdd"' in failed(capsys, 'experiment', '--set', 'utdd=3')
    assert 'unknown key "recipe"' in failed(capsys, 'experiment', '--set', 'recipe=paper')
    assert 'KEY=VALUE' in failed(capsys, 'experiment', '--set', 'utd')
    assert not (tmp_path / 'run').exists()


def test_a_missing_or_truncated_bag_is_named(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'no episodes in' in failed(capsys, 'bc', '--demos', tmp_path, '--out', tmp_path / 'base')
    broken = tmp_path / 'broken'
    source = next(path for path in demonstrations.iterdir() if path.is_dir())
    broken.mkdir()
    for file in source.iterdir():
        data = file.read_bytes()
        (broken / file.name).write_bytes(data[: len(data) // 2] if file.suffix == '.mcap' else data)
    assert 'damaged' in failed(capsys, 'bag', 'inspect', broken)


def test_an_existing_base_is_not_overwritten(
    demonstrations: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (base / 'policy.json').read_bytes()
    assert 'already holds' in failed(capsys, 'bc', '--demos', demonstrations, '--out', base)
    assert (base / 'policy.json').read_bytes() == before


def test_where_the_labels_spoke_for_the_base_an_evaluation_says_so(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actor, out = tmp_path / 'actor.safetensors', tmp_path / 'out.json'
    network = ResidualActor(ActorConfig(35, 29, 2, (8,)))
    network.offset[:] = 5.0  # it is not the base that is evaluated by mistake
    words = ['evaluate', '--weights', str(actor), '--base', str(base), '--episodes', '2', '--json', str(out)]
    actor.write_bytes(pack_actor(network, Exploration(base_share=0.9), 7))
    assert cli.main(words) == 0
    assert 'acted alone' in capsys.readouterr().out
    actor.write_bytes(pack_actor(network, Exploration(base_share=0.4), 7))
    assert cli.main(words) == 0
    assert 'acted alone' not in capsys.readouterr().out


def test_weights_of_another_task_or_none_are_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'no checkpoint' in failed(capsys, 'evaluate', '--run', tmp_path)
    bad = tmp_path / 'actor.safetensors'
    bad.write_bytes(b'not weights')
    assert 'safetensors' in failed(capsys, 'evaluate', '--weights', bad, '--base', base)
    bad.write_bytes(pack_actor(ResidualActor(ActorConfig(35, 29, 29, (8,), absolute=True)), Exploration(), 1))
    assert 'says where to go' in failed(capsys, 'evaluate', '--weights', bad, '--base', base)
    bad.write_bytes(pack_actor(ResidualActor(ActorConfig(35, 29, 2, (8,))), Exploration(), 1))
    assert 'state of 35' in failed(capsys, 'evaluate', '--task', 'box_cleanup', '--weights', bad, '--base', base)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'cannot write' in failed(capsys, 'expert', '--json', '/proc/nowhere/out.json')
    assert 'choose another' in failed(capsys, 'train', '--run', '/proc/nowhere/run')
    file = tmp_path / 'file'
    file.write_text('mine')
    assert 'is a file' in failed(capsys, 'collect', '--out', file)
    assert file.read_text() == 'mine'


def test_a_run_of_other_settings_is_not_mixed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'run.json').write_text(json.dumps({'task': 'woolly_ball', 'seed': 5, 'job': {}}))
    assert 'begun with other settings (seed' in failed(capsys, 'train', '--run', run)


def test_patience_without_an_environment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / 'job.yaml'
    job.write_text('patience: 3\n')
    assert 'patience' in failed(capsys, 'experiment', '--task', 'woolly_ball', '--job', job)

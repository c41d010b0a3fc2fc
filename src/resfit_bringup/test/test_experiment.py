"""Experiments in-process: stopped and gone on with, and what they report."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from resfit_bringup import cli, resumable
from resfit_learner.curve import Curve
from resfit_learner.training import ResFiT
from resfit_learner.warm_start import demonstrated_correction

JOB = """
demonstrations: 3
bc: {steps: 50, hidden: [32]}
learner: {heads: 2, critic_hidden: [16], utd: 0.3, critic_warmup: 20, warm_start: 50}
"""


def test_a_stopped_experiment_goes_on_to_the_result_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'job.yaml').write_text(JOB)
    words = ['experiment', '--job', str(tmp_path / 'job.yaml'), '--episodes', '2', '--seed', '7']
    words += ['--steps', '1300', '--eval-every', '600']
    monkeypatch.setattr('resfit_bringup.commands.experiment.INTERMEDIATE_EPISODES', 2)

    def result(name: str, stops: int) -> dict[str, Any]:
        out = tmp_path / f'{name}.json'
        if stops:  # it was whole, with fewer steps
            assert cli.main([*words, '--steps', '150', '--out', str(tmp_path / name)]) == 0
        for _ in range(stops):
            assert cli.main([*words, '--out', str(tmp_path / name), '--json', str(out)]) == 130
            assert f'--out {tmp_path / name}' in capsys.readouterr().err  # says how to go on
            assert not out.exists()
        assert cli.main([*words, '--out', str(tmp_path / name), '--json', str(out)]) == 0
        found: dict[str, Any] = json.loads(out.read_text())
        assert len(found['curve']['seconds']) == found['episodes']
        return found

    made: list[int] = []

    def correction(task: Any, demonstrations: Any, steps: int, show: Any) -> Any:
        made.append(steps)
        return demonstrated_correction(task, demonstrations, steps, show)

    monkeypatch.setattr('resfit_learner.synergies.demonstrated_correction', correction)
    whole = result('whole', 0)
    advance, stop_after = ResFiT.advance, {4: signal.SIGINT, 8: signal.SIGTERM}

    def advance_and_stop(method: ResFiT) -> None:
        advance(method)
        if len(method.curve.success) in stop_after:
            os.kill(os.getpid(), stop_after.pop(len(method.curve.success)))

    monkeypatch.setattr(ResFiT, 'advance', advance_and_stop)
    again = result('again', 2)
    assert made == [50, 50, 0, 0, 0] and again['warm_start_s'] > 0, 'a warm start was made again'
    for key in ('env_steps', 'base', 'start', 'resfit', 'evaluations', 'dip', 'settings'):
        assert again[key] == whole[key], key
    for key in ('steps', 'success'):
        assert again['curve'][key] == whole['curve'][key]
    one, two = (
        load_file(next((tmp_path / name).glob('checkpoints/*/learner.safetensors'))) for name in ('whole', 'again')
    )
    assert one['actor.net.6.weight'].any()  # the actor has learned
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert whole['start']['n'] == whole['base']['n']
    assert [item['steps'] // 600 for item in whole['evaluations']] == [1, 2]

    assert cli.main([*words, '--out', str(tmp_path / 'again'), '--set', 'utd=0.4']) == 2
    assert 'other settings (settings: utd)' in capsys.readouterr().err

    base = tmp_path / 'base'  # another one in the same place
    shutil.copytree(next((tmp_path / 'cache' / 'resfit' / 'bases').iterdir()), base)
    given = [*words[:-4], '--steps', '100', '--base', str(base), '--out', str(tmp_path / 'given')]
    assert cli.main(given) == 0
    about = json.loads((base / 'policy.json').read_text())
    (base / 'policy.json').write_text(json.dumps(about | {'seed': 8}))
    assert cli.main(given) == 2
    assert 'other settings (base)' in capsys.readouterr().err
    assert cli.main([*given[:-4], '--base', 'resfit_sim.experts:unseen', '--method', 'filtered_bc']) == 2
    assert 'filtered_bc trains anew only' in capsys.readouterr().err


def test_a_checkpoint_that_was_cut_off_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / 'run.safetensors').write_bytes(b'\x10\0\0\0\0\0\0\0{"half')
    with pytest.raises(resumable.ConfigError, match='remove it to start again'):
        resumable._load(None, tmp_path / 'run.safetensors', {})  # type: ignore[arg-type]


def test_a_checkpoint_of_networks_of_another_shape_is_one_clear_error(tmp_path: Path) -> None:
    class Other(torch.nn.Linear):
        curve = Curve()

        def restore(self, tensors: dict[str, torch.Tensor], about: dict[str, int]) -> None:
            self.load_state_dict(tensors)

        def tensors(self) -> dict[str, torch.Tensor]:
            return self.state_dict()

        def about(self) -> dict[str, int]:
            return {}

    file = tmp_path / 'run.safetensors'
    resumable._save(Other(3, 2), resumable.Log(), file, {})  # type: ignore[arg-type]
    with pytest.raises(resumable.ConfigError, match=r'(?s)not a run of this version .*choose another --out'):
        resumable._load(Other(3, 4), file, {})  # type: ignore[arg-type]
    resumable._load(Other(3, 2), file, {})  # type: ignore[arg-type]

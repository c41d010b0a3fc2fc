"""Benchmarks of learning: which runs a figure has, and what its tables say."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / 'benchmarks' / 'learning'
if not FOLDER.exists():
    pytest.skip('the benchmarks are not installed with the package', allow_module_level=True)
sys.path.insert(0, str(FOLDER))

import figures  # noqa: E402
import tables  # noqa: E402

from resfit_bringup import cli  # noqa: E402


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_lists_become_one_run_per_combination_and_shared_runs_have_one_owner(tmp_path: Path) -> None:
    path = write(
        tmp_path / 'figures.yaml',
        """
main: {about: x, seeds: [0, 1], runs: [{task: [woolly_ball, package_handover]}]}
other:
  about: y
  seeds: [0]
  runs: [{task: woolly_ball}, {task: woolly_ball, set: {utd: [1, 4], n_step: 3}}]
  beside: [main]
""",
    )
    found = figures.load_figures(path)
    assert len(found['main'].runs) == 4
    names = [run.name for run in found['other'].runs]
    assert names == [
        'woolly_ball-ours-s0', 'woolly_ball-ours-utd=1-n_step=3-s0',
        'woolly_ball-ours-utd=4-n_step=3-s0',
    ]  # fmt: skip
    assert [run.figure for run in found['other'].runs] == ['main', 'other', 'other']
    beside = [run.name for run in figures.with_beside(found['other'], found)]
    assert len(beside) == 3 and 'woolly_ball-ours-s1' not in beside  # the same tasks and seeds, and nothing twice
    path.write_text('main: {about: x, seeds: [0], runs: [{tusk: woolly_ball}]}')
    with pytest.raises(figures.ConfigError, match='tusk'):
        figures.load_figures(path)


def test_every_run_of_every_figure_is_a_command_that_resfit_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for figure in figures.load_figures().values():
        for run in figure.runs:
            run.plan()
            cli.parse(run.words(), args := cli.argparse.Namespace())
            assert args.command == 'experiment'


def test_a_result_of_other_settings_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, 'RESULTS', tmp_path)
    run = figures.Run('main', 0, task='woolly_ball', recipe='resfit_cold', set={'utd': 4})
    run.result.parent.mkdir(parents=True)
    run.result.write_text(cli.one_line_per_key(run.plan()))
    assert run.stale() == []
    changed = run.plan()
    changed['settings']['n_step'] = 99
    run.result.write_text(cli.one_line_per_key(changed))
    assert run.stale() == ['n_step']
    older = run.plan()
    for there_was_not in figures.SINCE:
        older['settings'].pop(there_was_not, None)
    run.result.write_text(cli.one_line_per_key(older))
    assert run.stale() == []
    warm = figures.Run('main', 0, task='woolly_ball', set={'utd': 4})
    warm.result.write_text(cli.one_line_per_key(older))
    assert sorted(warm.stale()) == ['phase_directions', 'warm_start'], 'what is on now was not then'
    del older['settings']['mc_share']  # nobody says what it was
    run.result.write_text(cli.one_line_per_key(older))
    assert run.stale() == ['mc_share']
    assert tables.run_label(run) == 'resfit_cold utd=4, with another mc_share'
    assert tables.groups([run])[0].method == 'resfit_cold utd=4, 1 with another mc_share'


def test_only_the_base_that_a_run_trains_can_make_it_stale() -> None:
    state, pixels = (figures.Run('main', 0, task='woolly_ball', observation=seen) for seen in ('', 'vision'))
    assert 'bc' in state.plan()['job'] and 'act' not in state.plan()['job']
    assert 'act' in pixels.plan()['job'] and 'bc' not in pixels.plan()['job']


def test_what_a_base_was_not_trained_for_then_was_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, 'RESULTS', tmp_path)
    ball, package = (
        figures.Run('main', 0, task=task, observation='vision') for task in ('woolly_ball', 'package_handover')
    )
    for run in (ball, package):
        older = run.plan()
        del older['job']['act']['picture']
        run.result.parent.mkdir(parents=True, exist_ok=True)
        run.result.write_text(cli.one_line_per_key(older))
    assert ball.stale() == []
    assert package.stale() == ['act'], 'its base is now also taught to rebuild the picture'


def test_spreads_and_ratios_say_what_was_not_reached() -> None:
    assert tables.spread([1200.0, 900.0, 1000.0]) == '1,000 (900 to 1,200)'
    assert tables.spread([900.0, math.inf, math.inf]) == 'not reached (1 of 3: from 900)'
    assert tables.spread([900.0, 1000.0, math.inf]) == '1,000 (2 of 3: from 900)'
    assert tables.spread([math.inf]) == 'not reached'
    assert tables.ratio([100.0, 200.0, 300.0], [600.0], 1000) == '3.0'
    assert tables.ratio([200.0], [math.inf], 1000) == '> 5.0'
    assert tables.ratio([math.inf], [600.0], 1000) == 'ours not reached'


def test_a_goal_is_reached_by_every_seed_from_a_base_in_its_band(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, 'RESULTS', tmp_path)
    runs = [figures.Run('main', seed, task='woolly_ball') for seed in range(4)]

    def row(*ended: tuple[float, float]) -> list[str]:
        for run, (base, final) in zip(runs, ended, strict=False):
            run.result.parent.mkdir(parents=True, exist_ok=True)
            run.result.write_text(cli.one_line_per_key(run.plan() | {
                'base': {'success': base, 'n': 100}, 'resfit': {'success': final, 'n': 100}, 'env_steps': 18_000,
                'dip': {'ratio': 1.0},
            }))  # fmt: skip
        return tables.goal_rows({'main': figures.Figure('main', 'x', runs, [], False)})[0]

    assert row((0.2, 0.96), (0.3, 0.97), (0.6, 0.98))[-1] == 'missed: base, seeds; by those in the band missed: seeds'
    outside = row((0.2, 0.96), (0.3, 0.97), (0.6, 0.9), (0.4, 0.98))
    assert outside[-1] == 'missed: base, success; by those in the band reached'
    reached = row((0.2, 0.96), (0.3, 0.97), (0.35, 0.96), (0.4, 0.98))
    assert reached[-1] == 'reached' and reached[2] == '4 of 4' and reached[4].startswith('97%')
    assert row((0.2, 0.9), (0.3, 0.97), (0.35, 1.0), (0.4, 0.98))[-1] == 'missed: success'

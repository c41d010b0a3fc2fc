"""Bags as evidence: the report of a session, and what becomes of bags that are damaged, mixed up or too old."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sessions import add, cut_off, make_session

from resfit_bringup import cli
from resfit_bringup.charts import nice
from resfit_bringup.clips import Clips, spread
from resfit_bringup.stages import read_curve
from resfit_learner.bags import read_log, read_records
from resfit_learner.evaluation import newcombe, wilson
from resfit_learner.replay_log import ReplayLog
from resfit_learner.rollout import run_episode
from resfit_learner.session import read_session
from resfit_policy.actor import ActorConfig, Exploration, ResidualActor, pack_actor
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError, load_task
from resfit_sim.env import VegaEnv
from resfit_sim.experts import make_expert

TASK = load_task('woolly_ball')
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture(scope='module')
def solved() -> Episode:
    runtime = PolicyRuntime(TASK, make_expert('woolly_ball', 'unseen'))
    return run_episode(VegaEnv('woolly_ball'), runtime, seed=4, arm=Arm.BASE)


@pytest.fixture(scope='module')
def session(solved: Episode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp('session')
    make_session(run_dir, solved.relabelled(False), solved)
    return run_dir


def copied(session: Path, to: Path) -> Path:
    shutil.copytree(session / 'episodes', to / 'episodes')
    return to


class Reader(HTMLParser):
    """Text by tag, attributes, and rows of the last table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.rows: dict[str, str] = {}
        self.row = ''
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.links += [value or '' for name, value in attrs if name in ('src', 'href', 'srcset', 'action')]
        if tag == 'tr':
            self.row = about.get('id') or ''

    def handle_data(self, data: str) -> None:
        if self.row:
            self.rows[self.row] = self.rows.get(self.row, '') + data


def report(path: Path, *more: str) -> tuple[str, Reader]:
    assert cli.main(['bag', 'report', str(path), *more]) == 0
    text = (path / 'report.html').read_text()
    return text, Reader(text)


def test_a_report_holds_every_episode_with_its_labels_and_every_rate_with_its_n(session: Path) -> None:
    text, read = report(session, '--videos', '0')
    assert sorted(read.rows) == sorted(f'e{number}' for number in range(1, 25))
    assert 'failure (script) → success (person, revision 1) → failure (ana, revision 2)' in read.rows['e1']
    assert 'failure (script) → success (person, revision 1)' in read.rows['e2'] and 'aborted' in read.rows['e8']
    assert '20 steps' in read.rows['e5']
    base = [item for item in read_log(session) if item.arm == Arm.BASE and item.episode_id != 8]
    residual = [item for item in read_log(session) if item.arm == Arm.RESIDUAL and not item.helped]
    rates = [wilson(sum(item.success for item in arm), len(arm)) for arm in (base, residual)]
    for rate in rates:
        assert f'{rate.success:.0%} [{rate.low:.0%}, {rate.high:.0%}], n = {rate.n}' in text
    low, high = newcombe(*rates)
    assert f'[{100 * low:+.0f}, {100 * high:+.0f}]' in text
    assert len(base) == len(residual) == 11


def test_a_report_needs_nothing_beside_itself(session: Path) -> None:
    text, read = report(session, '--videos', '0')
    assert all(link.startswith(('data:', '#')) for link in read.links)
    assert "default-src 'none'" in text and not re.search(r'https?://|@import|url\(', text)


def test_films_of_the_newest_failures_and_of_a_success_are_in_the_report(session: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out.html'
    words = ['bag', 'report', str(session), '--out', str(out), '--videos', '1', '--json', str(tmp_path / 'x')]
    assert cli.main(words) == 0
    assert json.loads((tmp_path / 'x').read_text())['films'] == [22, 24]
    text = out.read_text()
    assert text.count('<figure>') == 2 and 'drawn again from the recorded states' in text
    assert len(text) < 1_000_000
    assert not list(tmp_path.glob('.out.html*'))


def test_a_film_is_of_the_recorded_pixels_where_there_are_any_and_tells_who_acts(solved: Episode) -> None:
    pixels = np.zeros((len(solved.state), 2, 84, 84, 3), np.uint8)
    pixels[:, 0], pixels[:, 1] = (200, 0, 0), (0, 0, 200)
    flags = solved.flags.copy()
    flags[-1] = 1
    clip = Clips(None, 'unseen').of(replace(solved, images=pixels, flags=flags), 20.0)
    assert clip is not None and 'cameras' in clip.source
    with Image.open(BytesIO(clip.film)) as film:
        assert film.size == (168, 84) and film.n_frames > 10
    with Image.open(BytesIO(clip.last)) as last:
        picture = np.asarray(last.convert('RGB'), int)
    assert np.abs(picture[40, 40] - (200, 0, 0)).max() < 30 and np.abs(picture[40, 120] - (0, 0, 200)).max() < 30
    assert picture[82, 80, 0] > 150 > picture[82, 80, 2], 'the bar of the last frame says that a person acts'
    assert Clips(None, 'unseen').of(solved, 20.0) is None
    assert spread(100, 5)[0] == 0 and spread(100, 5)[-1] == 99 and spread(3, 9) == [0, 1, 2]


@pytest.mark.parametrize(('end', 'most'), [(0, 5), (1, 4), (7, 6), (120, 6), (18_070, 9), (99_999, 4)])
def test_ticks_are_few_and_round(end: float, most: int) -> None:
    ticks = nice(end, most)
    assert ticks[0] == 0 and len(ticks) <= most + 1 and ticks[-1] <= end
    assert end == 0 or len(ticks) > 1


def test_names_from_a_bag_cannot_write_into_the_page(solved: Episode, tmp_path: Path) -> None:
    log = ReplayLog(tmp_path / 'episodes')
    add(log, replace(solved, episode_id=1, task='<script>alert(1)</script>'), tmp_path / 'made')
    log.close()
    text, _ = report(tmp_path)
    assert '<script>alert' not in text and '&lt;script&gt;alert' in text


def test_a_bag_that_was_cut_off_is_named_and_the_others_are_used(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copied(session, tmp_path)
    cut_off(run_dir / 'episodes' / '000007-000007')
    (run_dir / 'episodes' / '000099-000099.partial').mkdir()
    out = tmp_path / 'x'
    for verb in ('inspect', 'replay', 'report'):
        more = ['--videos', '0'] if verb == 'report' else []
        assert cli.main(['bag', verb, str(run_dir), '--json', str(out), *more]) == 0
        said = capsys.readouterr().out
        assert '000007-000007 is damaged' in said and '000099-000099.partial is unfinished' in said
        assert len(json.loads(out.read_text())['left_out']) == 2
    text = (run_dir / 'report.html').read_text()
    assert 'Left out, in no number here' in text and Reader(text).rows.keys() >= {'e6', 'e8'}
    assert 'e7' not in Reader(text).rows
    with pytest.raises(ConfigError, match='000007-000007 is damaged'):
        list(read_log(run_dir))  # as a learner reads it
    only = run_dir / 'episodes' / '000007-000007'
    assert cli.main(['bag', 'report', str(only)]) == 2
    assert 'is damaged' in capsys.readouterr().err
    (only / 'metadata.yaml').unlink()
    assert cli.main(['bag', 'inspect', str(only)]) == 2
    assert 'recording was cut off' in capsys.readouterr().err


def test_a_damaged_correction_costs_itself_alone(session: Path, tmp_path: Path) -> None:
    run_dir = copied(session, tmp_path)
    cut_off(next(run_dir.glob('episodes/*-000002/CORRECTION')).parent)
    problems: list[str] = []
    records = {record.episode.episode_id: record for record in read_records(run_dir, problems.append)}
    assert len(records) == 24 and len(problems) == 1
    assert not records[2].episode.success and len(records[1].labels) == 3


def test_bags_of_several_tasks_or_of_another_one_are_refused(
    session: Path, solved: Episode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copied(session, tmp_path)
    log = ReplayLog(run_dir / 'episodes')
    add(log, replace(solved, episode_id=90, task='box_cleanup'), tmp_path / 'made')
    log.close()
    for verb in ('replay', 'report'):
        assert cli.main(['bag', verb, str(run_dir)]) == 2
        assert 'several tasks: ' in capsys.readouterr().err
    assert cli.main(['bag', 'replay', str(next(run_dir.glob('episodes/*-000090')))]) == 2
    assert 'the recorded state has 35 numbers, the task box_cleanup has' in capsys.readouterr().err


def test_weights_newer_than_the_bag_are_named_and_what_the_comparison_then_means(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / 'actor.safetensors'
    torch.manual_seed(0)
    config = ActorConfig(TASK.state_size, TASK.action_size, 2, (8,))
    for version, said in ((9, 'version 9, newer than those that acted in these bags (7)'), (3, 'older than'), (7, '')):
        weights.write_bytes(pack_actor(ResidualActor(config), Exploration(), version))
        assert cli.main(['bag', 'replay', str(session), '--weights', str(weights), '--json', str(tmp_path / 'x')]) == 0
        heard, result = capsys.readouterr().out, json.loads((tmp_path / 'x').read_text())
        if said:
            assert said in heard and 'only base actions can be compared' in heard
            assert result['equal'] and not result['differences']
        else:
            assert 'note:' not in heard and 'residual' not in heard.split('bit')[0]


def test_the_report_says_when_the_weights_are_newer_than_all_that_acted(session: Path, tmp_path: Path) -> None:
    run_dir = copied(session, tmp_path)
    checkpoint = run_dir / 'checkpoints' / '000000009'
    checkpoint.mkdir(parents=True)
    (checkpoint / 'learner.json').write_text('{}')
    actor = ResidualActor(ActorConfig(TASK.state_size, TASK.action_size, 2, (8,)))
    (checkpoint / 'actor.safetensors').write_bytes(pack_actor(actor, Exploration(), 9))
    text, _ = report(run_dir, '--videos', '0')
    assert 'newer than all that acted, so no rate in these bags is of them' in text


def test_an_aborted_episode_and_one_with_help_count_for_nobody(session: Path) -> None:
    read = read_session(session)
    base, residual = (read.rate(arm) for arm in Arm)
    assert base is not None and residual is not None and (base.n, residual.n) == (11, 11)
    assert [item.episode_id for item in read.episodes if item.helped] == [5]
    assert len(read_curve(session).success) == 23, 'nor in the curve of a run'


def test_a_place_that_cannot_be_written_is_named(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['bag', 'report', str(session), '--out', '/nowhere/report.html']) == 2
    assert 'give a file in a folder that exists' in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason='no Chromium on this machine')
def test_in_a_browser_the_episodes_are_sorted_and_filtered(session: Path, tmp_path: Path) -> None:
    text, _ = report(session, '--videos', '0')
    act = """
        const click = (name) => [...document.querySelectorAll('th button')].find((x) => x.textContent === name).click();
        const seen = () => [...document.querySelectorAll('tbody tr[id]:not([hidden])')].map((x) => x.id).join(' ');
        const told = [];
        click('episode'); click('episode'); told.push(seen());
        const kind = document.querySelector('select');
        kind.value = 'corrected'; kind.dispatchEvent(new Event('input')); told.push(seen());
        kind.value = 'all'; document.querySelector('input').value = 'person success';
        kind.dispatchEvent(new Event('input')); told.push(document.querySelector('output').value);
        document.title = told.join('|');
    """
    page = tmp_path / 'page.html'
    page.write_text(text.replace('</body>', f'<script>{{{act}}}</script></body>'))
    words = [str(BROWSER), '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}', '--dump-dom']
    dumped = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=60).stdout
    down, corrected, said = re.search('<title>(.*)</title>', dumped)[1].split('|')  # type: ignore[index]
    assert down.split() == [f'e{number}' for number in range(24, 0, -1)]
    assert corrected.split() == ['e2', 'e1'] and said == '2 of 24 episodes'

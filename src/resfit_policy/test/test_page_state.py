"""What the operator's page is told, what it must not be told, and which of its commands are refused."""

from __future__ import annotations

import json
import socket

import pytest

from resfit_msgs.msg import AuthorityState, EpisodeState, LearnerStatus, PolicyStep, ReplayStatus, Reward
from resfit_policy.episode_log import Flag
from resfit_policy.page_state import SHOWN, PageState
from resfit_policy.task import ConfigError
from resfit_policy.web_access import Access, Refused, listen, make_access
from resfit_policy.web_server import FRESH, Command, read_command

GIVEN = {'do': 'success', 'name': 'ana', 'at': 9.0, 'episode': 4}


def episode(page: PageState, number: int, arm: int, success: bool, helped: bool = False) -> None:
    page.on_episode(EpisodeState(episode_id=number, phase=EpisodeState.RUNNING, arm=arm))
    flags = int(Flag.INTERVENTION) if helped else 0
    page.on_step(PolicyStep(episode_id=number, step=5, flags=flags, authority=0.5, weights_version=731))
    page.on_reward(Reward(episode_id=number, success=success, source=Reward.SIM))
    phase = EpisodeState.SUCCESS if success else EpisodeState.FAILURE
    page.on_episode(EpisodeState(episode_id=number, phase=phase, arm=arm, step=6))


def filled() -> PageState:
    page = PageState('woolly_ball', ('head_left',), None)
    episode(page, 1, EpisodeState.BASE, False)
    episode(page, 2, EpisodeState.RESIDUAL, True)
    page.on_authority(AuthorityState(authority=0.625, reason='the last 20 episodes succeeded at 5 %'))
    page.on_learner(LearnerStatus(updates=812, q_mean=float('nan'), weights_version=731), now=10.0)
    page.on_replay(ReplayStatus(episodes=2, bytes_free=5_000_000_000, directory='/log'))
    page.on_diagnostics('vega/policy_node', 'the last 20 episodes succeeded at 5 %', now=10.0)
    page.on_diagnostics('vega/sim_node', 'unstable: standing still', now=10.0)
    return page


def test_an_open_session_shows_who_acts_and_how_both_do() -> None:
    view = filled().view(11.0, blind=False, silent=['replay_node'])
    assert (view['arm'], view['weights'], view['authority']) == ('RESIDUAL', 731, 0.625)
    assert view['score']['RESIDUAL'][:2] == [1, 1] and view['score']['BASE'][:2] == [0, 1]
    assert view['learner']['age'] == 1 and view['learner']['q'] is None and view['replay']['free_gb'] == 5.0
    assert len(view['warnings']) == 3 and 'replay_node is not there' in view['warnings']
    json.dumps(view, allow_nan=False)


def test_a_blind_session_shows_nothing_by_which_who_acts_could_be_known() -> None:
    """Whoever acts, the page is told the same."""
    told = []
    for arm in (EpisodeState.BASE, EpisodeState.RESIDUAL):
        page = filled()
        page.on_episode(EpisodeState(episode_id=3, phase=EpisodeState.RUNNING, arm=arm))
        flags, authority = (0, 0.0) if arm == EpisodeState.BASE else (int(Flag.CLIPPED), 0.625)
        page.on_step(PolicyStep(episode_id=3, step=2, flags=flags, authority=authority, weights_version=731))
        told.append(json.dumps(page.view(11.0, blind=True, silent=[])))
    assert told[0] == told[1]
    for word in ('RESIDUAL', 'BASE', 'residual', '731', '0.625', '5 %', 'score', 'learner'):
        assert word not in told[0], word
    assert 'unstable: standing still' in told[0], 'what keeps the robot still is no secret'


def test_a_warning_that_is_not_repeated_is_forgotten_and_a_hold_between_episodes_is_none() -> None:
    page = filled()
    assert page.view(30.0, blind=False, silent=[])['warnings'] == []
    for phase, warned in ((EpisodeState.RESETTING, False), (EpisodeState.RUNNING, True), (EpisodeState.SUCCESS, False)):
        page.on_episode(EpisodeState(episode_id=3, phase=phase))
        assert not page.view(30.0, blind=False, silent=[])['warnings'], 'one of the phase before'
        page.on_diagnostics('streamer_node', 'holding the measured pose: targets stopped', now=30.0)
        assert bool(page.view(30.0, blind=False, silent=[])['warnings']) == warned


def test_where_the_base_is_not_run_its_count_stands_in_and_help_by_a_person_counts_for_nobody() -> None:
    page = PageState('woolly_ball', (), (12, 50))
    episode(page, 1, EpisodeState.RESIDUAL, True)
    episode(page, 2, EpisodeState.RESIDUAL, True, helped=True)
    score = page.view(0.0, blind=False, silent=[])['score']
    assert score['apart'] and score['BASE'][:2] == [12, 50] and score['RESIDUAL'][:2] == [1, 1]
    episode(page, 3, EpisodeState.BASE, True)
    score = page.view(0.0, blind=False, silent=[])['score']
    assert not score['apart'] and score['BASE'][:2] == [1, 1]


def test_labels_are_for_the_running_episode_or_the_newest_with_a_result_and_the_history_says_whose() -> None:
    page = PageState('woolly_ball', (), None)
    assert page.labelled() == 0
    for number in range(1, SHOWN + 3):
        episode(page, number, EpisodeState.RESIDUAL, True)
    newest = SHOWN + 3
    page.on_episode(EpisodeState(episode_id=newest, phase=EpisodeState.RUNNING))
    assert page.labelled() == newest
    page.on_episode(EpisodeState(episode_id=newest, phase=EpisodeState.ABORTED))
    assert page.labelled() == newest - 1
    correction = Reward(episode_id=newest - 1, success=False, source=Reward.HUMAN, revision=1)
    correction.operator_name = 'ana'
    page.on_reward(correction)
    view = page.view(0.0, blind=True, silent=[])
    assert [entry['id'] for entry in view['history']] == list(range(newest, newest - SHOWN, -1))
    assert view['history'][1] == {'id': newest - 1, 'end': 'SUCCESS', 'success': False, 'by': 'ana', 'revision': 1}
    assert view['history'][2]['by'] == 'simulation'


def test_a_command_is_for_the_episode_that_its_sender_saw() -> None:
    assert read_command(GIVEN, now=10.0) == Command('success', 'ana', 4)
    dial = {**GIVEN, 'do': 'authority', 'authority': 1, 'name': ' a\n\x00b ' + 'c' * 99}
    assert read_command(dial, now=10.0) == Command('authority', 'ab ' + 'c' * 37, 4, 1.0)


@pytest.mark.parametrize(
    ('wrong', 'why'),
    [
        ({'do': 'dance'}, 'nothing is called dance'),
        ({'do': ['stop']}, 'nothing is called'),
        ({'at': 9.9 - FRESH}, 'after the state that it was an answer to'),
        ({'at': 11.0}, 'after the state'),
        ({'at': 'now'}, 'is no number'),
        ({'at': None}, 'is no number'),
        ({'authority': float('nan')}, 'is no number'),
        ({'episode': -1}, 'no number of an episode'),
        ({'episode': 1.5}, 'no number of an episode'),
        ({'episode': 2**64}, 'no number of an episode'),
        ({'episode': True}, 'no number of an episode'),
    ],
)
def test_a_command_that_is_malformed_or_late_is_refused_and_a_stop_never_is(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_command({**GIVEN, **wrong}, now=10.0)
    if 'do' not in wrong:
        assert read_command({**GIVEN, **wrong, 'do': 'stop'}, now=10.0).action == 'stop'


HERE = 'localhost:8080'


@pytest.mark.parametrize('host', [HERE, '127.0.0.1', '[::1]:8080', '192.168.7.5:80', f'{socket.gethostname()}:8080'])
def test_on_localhost_this_machine_may_without_a_token(host: str) -> None:
    access = make_access('127.0.0.1', '')
    access.check(host, None, None)
    access.check(host, f'http://{host}', None)


@pytest.mark.parametrize(
    ('host', 'origin', 'token', 'status', 'why'),
    [
        ('evil.example', None, 'long enough', 403, 'not called "evil.example"'),
        ('', None, 'long enough', 403, 'not called ""'),
        ('[', None, 'long enough', 403, 'not called'),
        (f'{socket.gethostname()}.evil.example', None, 'long enough', 403, 'not called'),
        (HERE, 'http://evil.example', 'long enough', 403, 'another site'),
        (HERE, 'http://localhost:9', 'long enough', 403, 'another site'),
        (HERE, 'null', 'long enough', 403, 'another site'),
        (HERE, None, None, 401, 'web_node'),
        (HERE, None, '', 401, 'web_node'),
        (HERE, None, 'wrong', 403, 'wrong token'),
        (HERE, None, 'long enougħ', 403, 'wrong token'),
    ],
)
def test_anything_else_is_refused_with_what_to_do(
    host: str, origin: str | None, token: str | None, status: int, why: str
) -> None:
    with pytest.raises(Refused, match=why) as refused:
        Access('0.0.0.0', 'long enough').check(host, origin, token)
    assert refused.value.status == status
    Access('0.0.0.0', 'long enough').check(HERE, f'http://{HERE}', 'long enough')


@pytest.mark.parametrize('address', ['0.0.0.0', '::', '192.168.7.5', 'robot'])
def test_elsewhere_than_on_localhost_there_is_always_a_token(address: str) -> None:
    first, second = make_access(address, ''), make_access(address, '')
    assert len(first.token) >= 16 and first.token != second.token
    assert make_access(address, 'my own token').token == make_access('localhost', 'my own token').token
    with pytest.raises(ConfigError, match='shorter than 8'):
        make_access(address, 'short')


def test_an_address_that_cannot_be_had_is_one_clear_error() -> None:
    with listen('127.0.0.1', 0) as taken, pytest.raises(ConfigError, match=r'in use.*Choose others'):
        listen('127.0.0.1', taken.getsockname()[1])
    for address, port in (('192.0.2.1', 0), ('no such host', 0), ('127.0.0.1', 70000)):
        with pytest.raises(ConfigError):
            listen(address, port)

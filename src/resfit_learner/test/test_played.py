"""A played log comes apart into its episodes again, whatever order its topics come in."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from touch_env import make_setup

from resfit_learner.config import LearnerConfig
from resfit_learner.played import Played
from resfit_learner.reacting import Reacting, recorded_step, replay
from resfit_learner.rollout import run_episode
from resfit_learner.training import ResFiT
from resfit_policy.episode_log import Arm, Episode, Phase, StepRecord
from resfit_policy.runtime import PolicyRuntime

SETUP = make_setup(LearnerConfig(min_steps=10, heads=2, critic_hidden=(16,), actor_hidden=(16,), explore_std=0.3))


def policy() -> PolicyRuntime:
    runtime = ResFiT(SETUP).runtime
    assert runtime.actor is not None
    torch.manual_seed(1)
    for parameter in runtime.actor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    made = PolicyRuntime(SETUP.task, SETUP.make_base(), 5)
    made.set_weights(runtime.actor, runtime.exploration, 7)
    return made


@pytest.fixture(scope='module')
def log() -> list[Episode]:
    runtime, env = policy(), SETUP.make_env()
    arms = (Arm.RESIDUAL, Arm.BASE, Arm.RESIDUAL)
    return [
        run_episode(env, runtime, seed=start, arm=arm, explore=True, episode_id=start + 1)
        for start, arm in enumerate(arms)
    ]


class Listener:
    """Plays to ``Played`` and keeps what it does and says."""

    def __init__(self) -> None:
        self.acted: list[tuple[int, StepRecord]] = []
        self.said: list[str] = []
        self.made = 0
        self.played = Played(SETUP.task.robot.names, self.make, self.act, self.said.append)

    def make(self, step: StepRecord) -> Reacting:
        self.made += 1
        return Reacting(policy(), explore=True)

    def act(self, episode_id: int, step: StepRecord) -> None:
        self.acted.append((episode_id, step))

    def begin(self, episode: Episode) -> None:
        self.played.on_episode(episode.episode_id, Phase.RUNNING, 0, episode.arm)

    def end(self, episode: Episode) -> None:
        self.played.on_episode(episode.episode_id, episode.outcome, episode.length, episode.arm)

    def steps(self, episode: Episode, first: int = 0, last: int | None = None) -> None:
        for row in range(first, episode.length if last is None else last):
            self.played.on_step(episode.episode_id, recorded_step(episode, row))

    def hear(self, episode: Episode) -> None:
        self.begin(episode)
        self.steps(episode)
        self.end(episode)


def test_what_is_played_is_what_is_replayed_offline(log: list[Episode]) -> None:
    listener, offline = Listener(), [replay(episode, policy(), explore=True) for episode in log]
    for episode in log:
        listener.hear(episode)
    played = listener.played
    assert played.episodes == 3 and played.equal == sum(item.equal for item in offline) > 0
    assert played.base_only == sum(item.base_only for item in offline) == 0
    assert not played.differences and not played.incomplete and listener.made == 1
    assert len(listener.acted) == sum(episode.length for episode in log)
    assert 'equal to the bit' in played.summary() and 'note' not in played.summary()


def test_topics_may_overtake_each_other(log: list[Episode]) -> None:
    listener = Listener()
    for episode in log:
        both = [('state', 'begin'), ('state', 'end')], [('step', row) for row in range(episode.length)]
        shuffle = random.Random(episode.episode_id)
        left, right = (list(items) for items in both)
        while left or right:  # each topic in its own order, the two in any
            kind, what = (left if left and (not right or shuffle.random() < 0.5) else right).pop(0)
            if kind == 'step':
                listener.played.on_step(episode.episode_id, recorded_step(episode, int(what)))
            else:
                getattr(listener, str(what))(episode)
    assert listener.played.episodes == 3 and not listener.played.differences and not listener.played.incomplete


def test_the_first_difference_is_named_and_the_next_episode_is_compared_again(log: list[Episode]) -> None:
    listener = Listener()
    action = log[0].base_action.copy()
    action[2, 1] = np.nextafter(action[2, 1], np.float32(2))
    listener.hear(replace(log[0], base_action=action))
    listener.hear(log[1])
    (found,) = listener.played.differences
    assert (found['episode'], found['step'], found['what'], found['joint']) == (1, 2, 'base_action', 1)
    joint = SETUP.task.robot.names[1]
    assert f'episode 1, step 2: base_action of {joint} is' in listener.said[0]
    assert listener.played.equal == 2 + log[1].length
    assert len(listener.acted) == log[0].length + log[1].length, 'it goes on to say what it does'


def test_steps_that_the_policy_made_after_the_end_do_not_count(log: list[Episode]) -> None:
    listener, episode = Listener(), log[0]
    shorter = replace(episode, outcome=Phase.SUCCESS)
    listener.begin(shorter)
    listener.steps(shorter)
    listener.played.on_episode(1, Phase.SUCCESS, episode.length - 2, episode.arm)
    assert listener.played.equal == episode.length - 2


def test_an_episode_that_was_not_heard_whole_is_said_to_be_so(log: list[Episode]) -> None:
    listener = Listener()
    listener.steps(log[0], first=2)  # the player was faster than the listener
    listener.end(log[0])
    listener.begin(log[1])
    listener.steps(log[1], last=3)
    listener.played.finish()
    assert listener.played.incomplete == [1, 2] and listener.played.episodes == 0
    assert 'steps 0 to 1 of' in listener.said[0] and 'its end was not heard' in listener.said[1]
    assert '2 not compared' in listener.played.summary()


def test_a_bag_may_be_played_twice(log: list[Episode]) -> None:
    listener = Listener()
    listener.hear(log[0])
    listener.hear(log[0])
    assert listener.played.episodes == 2 and not listener.played.differences


def test_other_weights_than_those_that_acted_are_named(log: list[Episode]) -> None:
    listener = Listener()
    listener.hear(replace(log[0], weights_version=log[0].weights_version - 2))
    assert listener.played.base_only == log[0].length
    assert 'version 7, newer than those that acted in these bags (5)' in listener.played.summary()

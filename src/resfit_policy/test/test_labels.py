"""Labels: the newest wins, each is kept, and what cannot be labelled says why."""

from __future__ import annotations

import pytest

from resfit_policy.episode_log import Phase
from resfit_policy.episode_machine import Outcome
from resfit_policy.labels import Labels, Refused, Source

WON, TIMED_OUT = Outcome(Phase.SUCCESS, 5, 700), Outcome(Phase.TIMEOUT, 9, 800)


def test_without_an_operator_the_source_labels() -> None:
    (label,) = Labels().close(1, WON, Source.CLASSIFIER, 0.75)
    assert (label.success, label.source, label.confidence, label.revision) == (True, Source.CLASSIFIER, 0.75, 0)
    assert (label.step, label.stamp, label.operator) == (4, 700, '')


def test_two_operators_at_once_are_two_revisions_and_the_newest_wins() -> None:
    labels = Labels()
    labels.give(1, True, 'ana')
    labels.give(1, False, 'bo')
    first, second = labels.close(1, Outcome(Phase.FAILURE, 5, 700), Source.SIM, 0.1)
    assert (first.success, first.operator, first.revision, first.source) == (True, 'ana', 0, Source.HUMAN)
    assert (second.success, second.operator, second.revision, second.confidence) == (False, 'bo', 1, 1.0)
    third = labels.correct(0, True, 'ana', last=1, busy=0)
    assert (third.revision, third.success, third.operator, third.stamp, third.step) == (2, True, 'ana', 700, 4)


def test_an_operator_corrects_what_another_source_said() -> None:
    labels = Labels()
    labels.close(1, TIMED_OUT, Source.CLASSIFIER, 0.9)
    label = labels.correct(1, True, 'ana', last=1, busy=2)
    assert (label.source, label.confidence, label.revision, label.success) == (Source.HUMAN, 1.0, 1, True)


def test_episodes_of_an_earlier_session_can_be_corrected() -> None:
    labels = Labels()
    assert labels.correct(3, True, '', last=4, busy=5).revision == 1
    with pytest.raises(Refused, match='none is over yet'):
        labels.correct(0, True, '', last=4, busy=5)


def test_what_has_no_result_cannot_be_labelled() -> None:
    labels = Labels()
    labels.give(1, True, 'ana')
    (label,) = labels.close(1, Outcome(Phase.ABORTED, 2, 300), Source.SIM, 1.0)
    assert (label.success, label.source) == (False, Source.SCRIPT), 'a label of an aborted episode counted'
    for episode, why in ((0, 'none is over'), (1, 'was aborted'), (2, 'no episode 2'), (9, 'the newest is 1')):
        with pytest.raises(Refused, match=why):
            labels.correct(episode, True, 'ana', last=1, busy=2)
    (label,) = labels.close(2, WON, Source.SIM, 1.0)
    assert label.source == Source.SIM, 'a label of the aborted episode came back'

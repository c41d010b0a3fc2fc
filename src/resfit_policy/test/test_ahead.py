"""A base that answers later: same actions when it is quick, aligned when it is late, none when it is wrong."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest

from resfit_policy.ahead import RETRY, Ahead, AheadConfig, Chunk, in_worker
from resfit_policy.chunked import Chunked
from resfit_policy.observation import Float, Observation
from resfit_policy.sampler import NotReady
from resfit_policy.task import ConfigError


class Server:
    """Answers when told to. Row i of a chunk says at which step it was asked for, and i."""

    def __init__(self, size: int = 20, execute: int = 10, at_once: bool = True) -> None:
        self.size, self.execute, self.at_once = size, execute, at_once
        self.asked: list[tuple[int, Future[Chunk]]] = []

    def __call__(self, observation: Observation, step: int) -> Future[Chunk]:
        self.asked.append((step, Future()))
        if self.at_once:
            self.answer()
        return self.asked[-1][1]

    def answer(self, actions: Float | None = None) -> None:
        step, future = self.asked[-1]
        rows = np.stack([np.full(self.size, step), np.arange(self.size)], 1).astype(np.float32)
        future.set_result(Chunk(rows if actions is None else actions, self.execute))


SEEN = Observation(np.zeros(2, np.float32))


def acts(base: Ahead, count: int) -> list[tuple[int, int]]:
    """(asked at, row) of the next actions; an answer that is there counts from the next try on."""
    out = []
    for _ in range(count):
        try:
            action = base.act(SEEN)
        except NotReady:
            action = base.act(SEEN)
        out.append((int(action[0]), int(action[1])))
        assert base.chunk_age == out[-1][1]
    return out


def test_asked_when_needed_a_quick_server_acts_as_the_base_itself() -> None:
    base = Ahead(Server(), 2, AheadConfig(patient=True))
    assert acts(base, 25) == [(k - k % 10, k % 10) for k in range(25)]


def test_asked_ahead_the_rows_that_passed_meanwhile_are_skipped() -> None:
    server = Server()
    base = Ahead(server, 2, AheadConfig(ahead=6, patient=True))
    got = acts(base, 40)
    assert [step for step, _ in server.asked] == [0, 10, 20, 30]
    assert got[:16] == [(0, k) for k in range(16)]
    assert got[16:26] == [(10, k - 10) for k in range(16, 26)]
    assert got[26:36] == [(20, k - 20) for k in range(26, 36)]


def test_every_row_is_for_the_step_it_was_predicted_for_however_late_it_comes() -> None:
    server = Server(at_once=False)
    base = Ahead(server, 2, AheadConfig(ahead=4))
    with pytest.raises(NotReady, match='late: asked 0'):
        base.act(SEEN)
    server.answer()
    assert acts(base, 18) == [(0, k) for k in range(18)]  # on with the present chunk, past the hand-over at 14
    server.answer()
    assert acts(base, 3) == [(10, 8), (10, 9), (10, 10)]
    assert base.late == 0


def test_where_nothing_is_left_it_does_not_act_until_the_late_chunk_comes() -> None:
    server = Server(at_once=False)
    base = Ahead(server, 2, AheadConfig(ahead=4))
    for _ in range(2):
        with pytest.raises(NotReady):
            base.act(SEEN)
    server.answer()
    assert acts(base, 20)[-1] == (0, 19)
    for _ in range(3):
        with pytest.raises(NotReady, match='late'):
            base.act(SEEN)
    assert base.late == 1 and len(server.asked) == 2
    server.answer()
    assert acts(base, 1) == [(10, 10)]


def test_in_lockstep_it_waits_at_the_hand_over_and_does_not_go_on() -> None:
    server = Server(at_once=False)
    base = Ahead(server, 2, AheadConfig(ahead=4, patient=True))
    with pytest.raises(NotReady):
        base.act(SEEN)
    server.answer()
    assert acts(base, 14)[-1] == (0, 13)
    with pytest.raises(NotReady):
        base.act(SEEN)
    server.answer()
    assert acts(base, 1) == [(10, 4)]


def test_the_number_of_executed_actions_can_be_set() -> None:
    server = Server()
    acts(Ahead(server, 2, AheadConfig(execute=5, patient=True)), 12)
    assert [step for step, _ in server.asked] == [0, 5, 10]
    server = Server(execute=20)  # a server that says all of them: less those that came too late
    acts(Ahead(server, 2, AheadConfig(ahead=6, patient=True)), 40)
    assert [step for step, _ in server.asked] == [0, 14, 28]


def test_a_chunk_of_the_last_episode_is_dropped() -> None:
    server = Server(at_once=False)
    forgotten = []
    base = Ahead(server, 2, forget=lambda: forgotten.append(True))
    with pytest.raises(NotReady):
        base.act(SEEN)
    old = server.asked[0][1]
    base.reset()
    assert forgotten and old.cancelled()
    with pytest.raises(NotReady):
        base.act(SEEN)
    assert len(server.asked) == 2
    server.answer(np.ones((20, 2), np.float32))
    assert base.act(SEEN)[0] == 1


@pytest.mark.parametrize(
    ('actions', 'why'),
    [
        (np.full((20, 2), np.nan), 'not finite'),
        (np.where(np.arange(40).reshape(20, 2) == 39, np.inf, 0), 'not finite'),
        (np.zeros((20, 3)), r'shape \(20, 3\), wanted \(n, 2\)'),
        (np.zeros((0, 2)), 'shape'),
        (np.zeros(2), 'shape'),
        (np.zeros((4, 2)), 'a chunk of 4 actions is over before it is needed.*base_ahead'),
    ],
)
def test_what_cannot_be_executed_is_refused_and_asked_for_again(actions: Float, why: str) -> None:
    server = Server(at_once=False)
    base = Ahead(server, 2, AheadConfig(ahead=4))
    with pytest.raises(NotReady):
        base.act(SEEN)
    server.answer(actions)
    for _ in range(3):
        with pytest.raises(NotReady, match=why):
            base.act(SEEN)
    assert len(server.asked) == 1, 'asked again at once: a server that is wrong would be flooded'
    time.sleep(RETRY)
    with pytest.raises(NotReady, match=why):  # still the newest that is known
        base.act(SEEN)
    server.answer()
    assert acts(base, 1) == [(0, 0)] and base.refused == 1 and base.status()['base_problem'] == ''


def test_after_the_deadline_an_answer_is_given_up_and_a_later_one_not_used() -> None:
    server = Server(at_once=False)
    base = Ahead(server, 2, AheadConfig(deadline=0.05))
    with pytest.raises(NotReady):
        base.act(SEEN)
    time.sleep(0.06)
    with pytest.raises(NotReady, match=r'no answer within 0\.05 s'):
        base.act(SEEN)
    assert server.asked[0][1].cancelled()


def test_a_slow_base_in_a_worker_never_blocks_and_its_errors_are_reasons() -> None:
    woken, broken, may = threading.Event(), threading.Event(), threading.Event()

    def predict(observation: Observation) -> Float:
        assert may.wait(30), 'the control loop waited for it'
        if broken.is_set():
            raise RuntimeError('out of memory')
        return np.ones((20, 2), np.float32)

    base = in_worker(Chunked(predict, 10), 2, AheadConfig(ahead=5), woken.set)
    with pytest.raises(NotReady):
        base.act(SEEN)
    assert not woken.is_set()
    may.set()
    assert woken.wait(30)
    assert base.act(SEEN)[0] == 1
    broken.set()
    base.reset()
    woken.clear()
    may.clear()
    with pytest.raises(NotReady):
        base.act(SEEN)
    may.set()
    assert woken.wait(30)
    with pytest.raises(NotReady, match='out of memory'):
        base.act(SEEN)


def test_a_base_of_single_actions_cannot_be_asked_ahead() -> None:
    class Single:
        def reset(self) -> None: ...

        def act(self, observation: Observation) -> Float:
            return observation.state

    with pytest.raises(ConfigError, match='single actions'):
        in_worker(Single(), 2, AheadConfig(ahead=1), lambda: None)


def test_a_chunked_base_says_how_old_its_chunk_is() -> None:
    base = Chunked(lambda observation: np.zeros((4, 2), np.float32), 3)
    ages = []
    for _ in range(5):
        base.act(SEEN)
        ages.append(base.chunk_age)
    assert ages == [0, 1, 2, 0, 1]

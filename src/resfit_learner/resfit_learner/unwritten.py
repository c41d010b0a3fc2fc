"""What could not be written yet: a full disk delays a record and never drops it. No ROS here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Unwritten:
    """Writes in the order in which they were asked for, each tried again until there is room."""

    def __init__(self, where: object, complain: Callable[[str], object], tell: Callable[[str], object]) -> None:
        """``where``: the folder, for people. ``complain`` hears once of a full disk, ``tell`` of its end."""
        self._where, self._complain, self._tell = where, complain, tell
        self._writes: deque[tuple[int, Callable[[], None]]] = deque()
        self.problem = ''  # why something waits; '' when nothing does

    @property
    def episodes(self) -> list[int]:
        """Episode ids of what waits, in order."""
        return [episode_id for episode_id, _ in self._writes]

    def add(self, episode_id: int, write: Callable[[], None]) -> None:
        """Call ``write`` now, or after what waits already. It may raise OSError, and is then called again."""
        self._writes.append((episode_id, write))
        if len(self._writes) == 1 or not self.problem:
            self.catch_up()

    def catch_up(self) -> None:
        """Write what waits, as far as there is room."""
        while self._writes:
            episode_id, write = self._writes[0]
            try:
                write()
            except OSError as error:
                what = f'episode {episode_id} cannot be written to {self._where}: {error.strerror}'
                if not self.problem:
                    self._complain(f'{what}; it is kept in memory: make room, and the run goes on')
                self.problem = what
                return
            self._writes.popleft()
        if self.problem:
            self._tell('there is room again: everything is written')
        self.problem = ''

    def give_up(self) -> None:
        """One last try; say what is lost."""
        self.catch_up()
        for episode_id in self.episodes:
            self._complain(f'lost: {self.problem} (episode {episode_id})')

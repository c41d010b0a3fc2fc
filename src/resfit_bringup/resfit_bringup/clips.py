"""Short films of recorded episodes, small enough for a page: from their pixels, or drawn again from their states."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resfit_policy.episode_log import Episode, Flag
from resfit_policy.task import ConfigError, Task
from resfit_sim.simulation import Simulation

DRAWN = 24  # frames of a film at most, where each has to be drawn
SEEN = 60  # where they are in the bag
SIZE = 240, 320  # height and width of what is drawn, pixels
LAST_MS = 1500  # the last frame stays
BAR = 4  # px of the bar that shows where in the episode a frame is
OWN, PERSON = (11, 114, 133), (232, 89, 12)  # colours of the bar: the policy acts, a person does
QUALITY = 60  # of WebP


@dataclass(frozen=True)
class Clip:
    """An animated WebP and its last frame, and where the pictures come from."""

    film: bytes
    last: bytes
    width: int
    height: int
    source: str


class Clips:
    """Makes clips of episodes of one task."""

    def __init__(self, task: Task | None, variant: str) -> None:
        """``task``: a simulated one, whose ``variant`` can be drawn again; without it, only pixels are shown."""
        self._variant = variant
        self._simulation: Simulation | None = None
        if task is not None:
            try:
                self._simulation = Simulation(task, variant)
            except (ConfigError, KeyError):  # another robot, or no scene of that name
                self._simulation = None

    def of(self, episode: Episode, control_hz: float) -> Clip | None:
        """A clip in the episode's own time; None where its bag has no pixels and its states cannot be drawn.

        Raises the simulation's RenderError where nothing can be rendered.
        """
        if episode.images.size:
            rows = spread(episode.length, SEEN)
            images = [np.concatenate(list(episode.images[row]), axis=1) for row in rows]
            source = 'recorded by its cameras'
        elif self._simulation is not None and episode.state.shape[1] == self._simulation.task.state_size:
            rows = spread(episode.length, DRAWN)
            self._simulation.reset(episode.seed)  # orientations that no state holds
            images = [self._draw(self._simulation, episode.state[row]) for row in rows]
            source = f'drawn again from the recorded states (objects: {self._variant})'
        else:
            return None
        frames = [
            marked(image, (row + 1) / episode.length, bool(episode.flags[row] & Flag.INTERVENTION))
            for image, row in zip(images, rows, strict=True)
        ]
        times = [round(1000 * steps / control_hz) for steps in np.diff(rows)] + [LAST_MS]
        film, last = io.BytesIO(), io.BytesIO()
        frames[0].save(
            film, 'WEBP', save_all=True, append_images=frames[1:], duration=times, loop=0, quality=QUALITY, method=2
        )
        frames[-1].save(last, 'WEBP', quality=QUALITY)
        return Clip(film.getvalue(), last.getvalue(), *frames[0].size, source)

    @staticmethod
    def _draw(simulation: Simulation, state: NDArray[np.float32]) -> NDArray[np.uint8]:
        simulation.show(state)
        return simulation.render('overview', *SIZE)

    def close(self) -> None:
        """Free the renderer."""
        if self._simulation is not None:
            self._simulation.close()


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` rows, evenly, with the first and the last."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def marked(image: NDArray[np.uint8], done: float, person: bool) -> Image.Image:
    """A frame with a bar of ``done`` (0 to 1) along its lower edge, which says by its colour who acts."""
    frame = Image.fromarray(image)
    bottom = frame.height - 1
    draw = ImageDraw.Draw(frame)
    draw.rectangle((0, bottom - BAR, round(done * frame.width), bottom), fill=PERSON if person else OWN)
    return frame

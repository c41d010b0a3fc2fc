"""From the probability of success in single images to a verdict on an episode. No ROS, no torch here.

Two thresholds make three verdicts: success, not (yet) a success, and doubtful between them. A verdict has to persist:
one image in which a hand hides the object is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from resfit_policy.sampler import NotReady

Share = Annotated[float, Field(ge=0, le=1)]
ONE_COLOUR = 2  # grey levels; an image that spans no more shows nothing


class Verdict(Enum):
    """Of one episode, up to now."""

    SUCCESS = 'success'
    DOUBTFUL = 'doubtful'
    NOT = 'not'


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class Rule:
    """When probabilities are a verdict."""

    success: Share  # probability from which on an image shows success
    failure: Share  # probability up to which it shows none
    hold: Annotated[int, Field(ge=1)] = 3  # judged images in a row that have to agree

    @model_validator(mode='after')
    def _check(self) -> Rule:
        if not self.failure < self.success:
            raise ValueError('failure must lie below success')
        return self


class Judge:
    """Applies a rule to one image after the other."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._seen: deque[float] = deque(maxlen=rule.hold)

    def begin(self) -> None:
        """Another episode: what was seen before says nothing about it."""
        self._seen.clear()

    def hear(self, probability: float) -> tuple[Verdict, float]:
        """The verdict after one more image, and how sure it is, [0, 1]; a doubtful one is not sure at all."""
        self._seen.append(probability)
        least, most = min(self._seen), max(self._seen)
        if len(self._seen) == self.rule.hold:
            if least >= self.rule.success:
                return Verdict.SUCCESS, least
            if most <= self.rule.failure:
                return Verdict.NOT, 1 - most
        return Verdict.DOUBTFUL, 0.0


def judge_episode(probabilities: Sequence[float], rule: Rule) -> tuple[Verdict, int]:
    """Verdict on a whole episode, and after how many images: the first success, else what there is at the end."""
    judge, verdict = Judge(rule), Verdict.DOUBTFUL
    for count, probability in enumerate(probabilities, start=1):
        verdict, _ = judge.hear(probability)
        if verdict == Verdict.SUCCESS:
            return verdict, count
    return verdict, len(probabilities)


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise NotReady for an image (H, W, 3) that shows nothing, such as that of a dead camera."""
    if int(image.max()) - int(image.min()) <= ONE_COLOUR:
        raise NotReady('it shows one colour: is the camera covered, or dead?')


class Shots:
    """The newest image of every camera, taken together at most once per control step."""

    def __init__(self, cameras: Sequence[str], period: int, max_age: int) -> None:
        """``period``: ns between judged images. ``max_age``: ns by which the images of two cameras may differ."""
        self._cameras, self._period, self._max_age = tuple(cameras), period, max_age
        self._newest: dict[str, tuple[int, NDArray[np.uint8]]] = {}
        self._last = self._begun = 0

    def begin(self, stamp: int) -> None:
        """Only images from ``stamp`` ns on count."""
        self._begun, self._last = stamp, stamp - self._period
        self._newest = {camera: item for camera, item in self._newest.items() if item[0] >= stamp}

    def put(self, camera: str, stamp: int, image: NDArray[np.uint8]) -> None:
        """Take an image (H, W, 3) RGB."""
        if stamp >= self._begun:
            self._newest[camera] = (stamp, image)

    def take(self) -> tuple[int, NDArray[np.uint8]] | None:
        """The stamp [ns] of the oldest image and all of them, (K, H, W, 3); None before it is time.

        Raises NotReady where a camera lags behind.
        """
        if not self._newest:
            return None
        newest = max(stamp for stamp, _ in self._newest.values())
        for camera in self._cameras:
            stamp = self._newest[camera][0] if camera in self._newest else self._begun
            if newest - stamp > self._max_age:
                raise NotReady(f'{camera}/image is {(newest - stamp) * 1e-9:.3f} s older than another camera')
        if len(self._newest) < len(self._cameras):
            return None
        oldest = min(stamp for stamp, _ in self._newest.values())
        if oldest - self._last < 0.75 * self._period:  # cameras have clocks of their own
            return None
        self._last = oldest
        return oldest, np.stack([self._newest[camera][1] for camera in self._cameras])

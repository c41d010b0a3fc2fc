"""What the main job of a task consists of: one YAML file per task in ``config/jobs`` mirrors this."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from resfit_learner.act_training import ActTraining
from resfit_learner.bc import BcConfig
from resfit_learner.config import RECIPES, LearnerConfig, load_config
from resfit_policy.task import ConfigError, parse_config, read_yaml

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class Job:
    """From demonstrations to a better policy."""

    demonstrations: Count = 60  # successful expert episodes
    base_band: tuple[Share, Share] | None = None  # success of the base, by taking as many demonstrations as it takes
    demonstrated: str = 'demonstrated'  # variant of the scene the demonstrations show
    variant: str = 'unseen'  # variant that the base is weak on, and the residual is trained on
    observation: Literal['state', 'vision'] = 'state'  # vision: joints and cameras, no object poses
    bc: BcConfig = field(default_factory=BcConfig)  # training of the base that sees the state
    act: ActTraining = field(default_factory=ActTraining)  # training of the base that sees images
    recipe: str = 'resfit_ros'
    learner: dict[str, Any] = field(default_factory=dict)  # changes to this recipe
    steps: Count = 18_000  # online control steps (15 robot minutes at 20 Hz)
    horizon: Count | None = None  # control steps per episode of --env, where shorter than its own
    patience: Annotated[float, Field(gt=1)] | None = None  # mean demonstrations per episode of --env, without horizon
    evaluation_episodes: Count = 100  # per arm

    @model_validator(mode='after')
    def _check(self) -> Job:
        if self.base_band and not self.base_band[0] < self.base_band[1]:
            raise ValueError('base_band: the lower success rate comes first')
        return self

    def learner_config(self, **changes: Any) -> LearnerConfig:
        """The recipe with this job's changes, and more. Raises ConfigError."""
        return load_config(self.recipe, **{**self.learner, **changes})


def job_folder() -> Path:
    """Installed ``config/jobs``, or the one next to the sources."""
    from resfit_bringup.share import share_folder

    return share_folder() / 'config' / 'jobs'


def load_job(task: str, path: Path | None = None, env: bool = False, **changes: Any) -> Job:
    """The job of ``task``, or of the YAML file ``path``; ``changes`` that are not None go over it.

    Observation 'vision' may have a file of its own. ``env``: ``task`` is the id of a Gymnasium environment; those of
    one family, 'family:name', share the family's job, and all others have one.
    """
    name = Path(task).stem.partition(':')[0]
    where = path or job_folder() / f'{name}.yaml'
    if not path and changes.get('observation') == 'vision' and (own := job_folder() / f'{name}-vision.yaml').exists():
        where = own
    if env and not where.exists():
        where = where.with_name('environment.yaml')
    values = (read_yaml(where) if path or where.exists() else None) or {}
    if isinstance(values, dict) and changes.get('recipe') not in (None, values.get('recipe', Job.recipe)):
        values = {key: value for key, value in values.items() if key != 'learner'}  # meant for the recipe of the file
    job = parse_config(Job, {**values, **{k: v for k, v in changes.items() if v is not None}}, str(where))
    if job.recipe not in RECIPES:
        raise ConfigError(f'{where}: no recipe "{job.recipe}": choose one of {", ".join(sorted(RECIPES))}')
    job.learner_config()
    return job


def digest(*parts: Any) -> str:
    """Content hash of configurations, for caches."""
    plain = [asdict(part) if hasattr(part, '__dataclass_fields__') else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]

"""ResFiT fine-tuning: policy, streamer, rewards, replay log, learner, and the simulated or real Vega."""

from launch import LaunchDescription
from resfit_bringup.graph import train_graph
from resfit_bringup.launching import describe
from resfit_bringup.pipeline import TRAINING_SEEDS
from resfit_bringup.runs import prepare_simulated


def with_demonstrator(given: dict[str, str]) -> dict[str, str]:
    """Without a base: demonstrations of the scripted expert, a base trained on them (made once), the job's settings."""
    if given['base']:
        return {}
    prepared = prepare_simulated(given['task'], int(given['seed']), given['vision'] == 'true', given['recipe'])
    return {name: str(path) for name, path in prepared.items() if not given[name]}


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_train.launch.py --show-args``."""
    return describe(
        train_graph,
        {
            'demonstrations': ('', 'folder of recorded demonstrations, as "resfit collect" writes it'),
            'recipe': ('resfit_ros', 'named set of hyper-parameters'),
            'learner_config': ('', 'YAML file of hyper-parameters that differ from the recipe'),
            'learner': ('local', 'local, or remote: started on another machine, see docker/compose.yaml'),
        },
        with_demonstrator,
        TRAINING_SEEDS,
    )

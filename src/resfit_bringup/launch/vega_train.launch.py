"""ResFiT fine-tuning: policy, streamer, rewards, replay log, learner, and the simulated or real Vega."""

from launch import LaunchDescription
from resfit_bringup.graph import train_graph
from resfit_bringup.launching import describe
from resfit_bringup.runs import prepare_simulated


def with_demonstrator(given: dict[str, str]) -> dict[str, str]:
    """Without a base: demonstrations of the scripted expert, and a base trained on them (made once, a minute)."""
    demonstrations, base = prepare_simulated(given['task'], int(given['seed']))
    return {'demonstrations': str(demonstrations), 'base': str(base)}


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
    )

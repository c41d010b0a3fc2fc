"""``resfit bag report``: a session in one HTML file, made from its bags."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from resfit_bringup.clips import Clip, Clips
from resfit_bringup.commands.bag.inspect import transitions_digest
from resfit_bringup.commands.bag.replay import home_of
from resfit_bringup.pipeline import hash_bytes
from resfit_bringup.progress import Progress
from resfit_bringup.runs import how_it_ran, optional, scene_of
from resfit_bringup.session_report import About, page
from resfit_bringup.versions import versions
from resfit_learner.bags import episode_folders
from resfit_learner.checkpoint import latest_checkpoint
from resfit_learner.evaluation import Rate, newcombe, wilson
from resfit_learner.session import Facts, Session, episodes_of, read_session, telling
from resfit_policy.actor import unpack_actor
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.files import write_atomically
from resfit_policy.task import ConfigError, Task, load_task, task_names
from resfit_sim.rendering import RenderError

VIDEOS = 4
LARGE = 5_000_000  # bytes of a file that phones still open at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help="a run's folder, its folder of episodes, or a bag")
    parser.add_argument('--out', type=Path, help='HTML file (default: report.html in the folder)')
    parser.add_argument(
        '--videos',
        type=int,
        default=VIDEOS,
        help='films of the newest failures, and one success (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the file, and say where it is and what it could not show."""
    if args.videos < 0:
        raise ConfigError('--videos must be 0 or more')
    return write_report(args.path, args.out or args.path / 'report.html', args.videos, args.task)


def write_report(path: Path, out: Path, videos: int = VIDEOS, task_given: str = '') -> dict[str, Any]:
    """Report on the bags in ``path``; its numbers, as the command's result. Raises ConfigError, OSError."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError(f'cannot write {out}: give a file in a folder that exists, with --out')
    digest = hashlib.sha256()
    folders = episode_folders(path) or episode_folders(path / 'episodes')
    with Progress('report', len(folders) or 1, 'bags') as progress:
        done = 0

        def heard(episode: Episode) -> None:
            nonlocal done
            done += 1
            digest.update(transitions_digest(episode))
            progress.update(done)

        session = read_session(path, heard)
    task = known_task(session.task, task_given)
    home = home_of(path)
    notes = left_out_note(session.left_out)
    clips = films(path, home, session, task, videos, notes)
    about = about_run(home, session, task, digest.hexdigest(), folders, notes)
    data = page(session, about, clips).encode()
    write_atomically(out, data)
    if len(data) > LARGE:
        print(f'{len(data) / 1e6:.1f} MB: fewer --videos make it smaller')  # noqa: T201
    for text in session.left_out:
        print(f'left out: {text}')  # noqa: T201
    print(f'{len(session.episodes)} episodes, {len(clips)} films, {len(data) / 1e6:.1f} MB: {out}')  # noqa: T201
    rates = {arm.name.lower(): session.rate(arm) for arm in Arm}
    return {
        'task': session.task,
        'episodes': len(session.episodes),
        **{name: vars(rate) for name, rate in rates.items() if rate},
        'difference': session.difference(),
        'films': [item.episode_id for item, _ in clips],
        'transitions': digest.hexdigest(),
        'left_out': list(session.left_out),
        'file': str(out),
    }


def left_out_note(left_out: Sequence[str]) -> list[str]:
    """What a reader must know of bags that could not be read; [] where all could."""
    more = f' ... and {len(left_out) - 3} more, which "resfit bag inspect" names' if len(left_out) > 3 else ''
    return [f'Left out, in no number here: {"; ".join(left_out[:3])}{more}'] if left_out else []


def known_task(name: str, given: str) -> Task | None:
    """The task of that name; None where this machine does not know it, and bags must do."""
    if name in task_names():
        return load_task(name)
    task = load_task(given) if given.endswith('.yaml') else None
    return task if task is not None and task.name == name else None


def films(
    path: Path, home: Path, session: Session, task: Task | None, videos: int, notes: list[str]
) -> list[tuple[Facts, Clip]]:
    """Clips of the newest failures and of one success; ``notes`` gets the reason where there are none."""
    wanted = {item.episode_id: item for item in telling(session, videos)} if videos else {}
    if not wanted:
        return []
    clips = Clips(task, scene_of(home)[2])
    hz = control_hz(session, task)
    found: dict[int, Clip] = {}
    why = 'the bags hold no pixels, and no simulation here can draw their states again'
    try:
        with Progress('films', len(wanted), 'episodes') as progress:
            for done, episode in enumerate(episodes_of(path, list(wanted)), start=1):
                if clip := clips.of(episode, hz):
                    found[episode.episode_id] = clip
                progress.update(done)
    except RenderError as error:
        why = str(error)
    finally:
        clips.close()
    if not found:
        notes.append(f'No films: {why}.')
    return [(item, found[episode_id]) for episode_id, item in wanted.items() if episode_id in found]


def control_hz(session: Session, task: Task | None) -> float:
    """Of the task, else as the steps were recorded."""
    rates = [(item.steps - 1) / item.seconds for item in session.episodes if item.seconds > 0 and item.steps > 1]
    return task.control_hz if task else median(rates) if rates else 20.0


def about_run(
    home: Path, session: Session, task: Task | None, transitions: str, folders: list[Any], notes: list[str]
) -> About:
    """What a run folder knows beside its bags; every part of it may be missing."""
    told, summary, ran = optional(home / 'run.json'), optional(home / 'summary.json'), how_it_ran(home)
    counted = optional(home / 'base_count.json')
    rates = [(f'{name}, evaluated without exploration', Rate(**summary[key])) for name, key in (
        ('base', 'base'), ('base + residual', 'resfit')) if key in summary]  # fmt: skip
    gain = None
    if len(rates) == 2:
        gain = rates[1][1].success - rates[0][1].success, *newcombe(rates[0][1], rates[1][1])
    base: Rate | None = rates[0][1] if rates else None
    source = 'evaluated after the run'
    if base is None and counted.get('episodes'):
        base, source = wilson(counted['successes'], counted['episodes']), 'counted before the run'
    if base is None and (base := session.rate(Arm.BASE)):
        source = 'in these bags'
    hz = control_hz(session, task)
    steps = sum(item.steps for item in session.episodes)
    job = told.get('job', {})
    pairs = [
        ('task', session.task),
        ('seed of the run', str(told.get('seed', ran.get('seed', '')))),
        ('when', when(session, folders)),
        ('control steps', f'{steps:,} ({steps / hz / 60:.0f} minutes at {hz:.0f} Hz)'),
        ('recipe', str(job.get('recipe', ''))),
        ('observation', str(job.get('observation', 'vision' if ran.get('vision') else ''))),
        ('objects', str(job.get('variant', ''))),
        ('base', hashed(home / 'base' / 'policy.safetensors') or str(ran.get('base', ''))),
        ('weights', str(ran.get('weights', ''))),
        ('explored', '' if 'explore' not in ran else 'yes' if ran['explore'] else 'no'),
        ('versions that acted', span(session.versions)),
        ('newest weights', newest(home, session)),
        ('transitions (sha256)', transitions[:16]),
        ('report', f'{time.strftime("%Y-%m-%d %H:%M")}, software {versions()["commit"] or "unknown"}'),
    ]
    return About([(name, text) for name, text in pairs if text], rates, gain, base, source, notes, hz)


def when(session: Session, folders: list[Any]) -> str:
    """From the first step to the last by the robot's clock; in simulated time, when the bags were written."""
    stamps = [item.stamp * 1e-9 for item in session.episodes]
    by = ''
    if min(stamps) < 1e9 and folders:  # no clock of a robot stands before 2001
        by = ' (dates of the files)'
        stamps = [(folder / 'metadata.yaml').stat().st_mtime for _, _, folder in folders if folder.is_dir()]
    if min(stamps) < 1e9:
        return ''
    first, last = (time.strftime('%Y-%m-%d %H:%M', time.localtime(at)) for at in (min(stamps), max(stamps)))
    return f'{first} to {last}{by}' if first != last else f'{first}{by}'


def span(numbers: tuple[int, ...]) -> str:
    """A few numbers, or from the first to the last."""
    if len(numbers) > 4:
        return f'{numbers[0]} to {numbers[-1]} ({len(numbers)} of them)'
    return ', '.join(map(str, numbers))


def newest(home: Path, session: Session) -> str:
    """The weights that the run has now, and whether any rate in these bags is of them."""
    checkpoint = latest_checkpoint(home / 'checkpoints')
    if checkpoint is None:
        return ''
    data = (checkpoint / 'actor.safetensors').read_bytes()
    version = unpack_actor(data)[2]
    text = f'version {version} (sha256 {hash_bytes(data)})'
    if session.versions and version > session.versions[-1]:
        text += ': newer than all that acted, so no rate in these bags is of them'
    return text


def hashed(file: Path) -> str:
    """A file of the run by its hash; '' where it is not there."""
    return f'{file.parent.name}/{file.name} (sha256 {hash_bytes(file.read_bytes())})' if file.exists() else ''

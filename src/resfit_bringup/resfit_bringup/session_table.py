"""The table of a session's episodes as HTML; the page's script sorts and filters it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from resfit_learner.bags import Label
from resfit_learner.session import SOURCES, Facts, Session
from resfit_policy.episode_log import Arm

NAMES = {Arm.BASE: 'base', Arm.RESIDUAL: 'base + residual'}


def episodes(session: Session) -> str:
    """Every episode with its labels; the page's script sorts and filters."""
    heads = ['episode', 'policy', 'outcome', 'labels', 'steps', 'seconds', 'weights', 'clipped', 'held', 'help', 'seed']
    head = ''.join(f'<th scope="col"><button type="button">{name}</button></th>' for name in heads)
    kinds = ['all', 'success', 'failure', 'corrected', 'helped', 'aborted']
    options = ''.join(f'<option>{kind}</option>' for kind in kinds)
    return (
        f'<form class="filter"><label>Show <select>{options}</select></label> <label>with '
        '<input type="search" placeholder="number, policy, label ..."></label> <output></output></form>'
        f'<div class="scroll"><table class="episodes"><thead><tr>{head}</tr></thead><tbody>'
        + ''.join(row(item) for item in session.episodes)
        + '</tbody></table></div>'
    )


def row(item: Facts) -> str:
    """One episode."""
    said = 'aborted' if not item.counted else 'success' if item.success else 'failure'
    kinds = [said, *(['corrected'] if item.corrected else []), *(['helped'] if item.helped else [])]
    ends = dict.fromkeys((*item.versions[:1], *item.versions[-1:]))
    cells = [
        (item.episode_id, str(item.episode_id)),
        (int(item.arm), NAMES[item.arm]),
        (said, f'<span class="{said}">{said}</span>' + (' (time-out)' if item.outcome.name == 'TIMEOUT' else '')),
        (len(item.labels), history(item.labels)),
        (item.steps, str(item.steps)),
        (item.seconds, f'{item.seconds:.1f}'),
        (item.versions[0] if item.versions else -1, '–'.join(map(str, ends))),
        (item.clipped / item.steps, f'{item.clipped / item.steps:.0%}'),
        (item.held / item.steps, f'{item.held / item.steps:.0%}'),
        (item.taken_over, f'{item.taken_over} steps' if item.helped else ''),
        (item.seed, str(item.seed)),
    ]  # fmt: skip
    inner = ''.join(f'<td data-v="{value}">{text}</td>' for value, text in cells)
    return f'<tr id="e{item.episode_id}" class="{" ".join(kinds)}">{inner}</tr>'


def history(labels: Sequence[Label]) -> str:
    """All labels, the oldest first: what, by what, and the revision of each correction."""
    found = []
    for label in labels:
        said = 'success' if label.success else 'failure'
        source = label.operator or (SOURCES[label.source] if label.source < len(SOURCES) else f'source {label.source}')
        sure = f', {label.confidence:.0%} sure' if 0 < label.confidence < 1 else ''
        which = f', revision {label.revision}' if label.revision else ''
        found.append(f'{said} <span class="small">({escape(source)}{sure}{which})</span>')
    return ' → '.join(found)

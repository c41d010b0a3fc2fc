"""A session in one HTML file, from its bags: what ran, how often it succeeded, and every episode with its labels.

The file needs nothing beside itself. Each rate stands with its number of episodes and its 95 % interval.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median

from resfit_bringup.charts import Chart, for_screens, interval, nice
from resfit_bringup.clips import Clip
from resfit_bringup.report import FIRST
from resfit_bringup.session_table import NAMES, episodes
from resfit_learner.curve import WINDOW
from resfit_learner.dip import find_dip
from resfit_learner.evaluation import Rate
from resfit_learner.session import Facts, Session
from resfit_policy.episode_log import Arm

PAGE = Path(__file__).parent / 'page'
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class About:
    """What is known of a session beside its bags."""

    ran: Sequence[tuple[str, str]]  # what it was, in words: (name, value)
    rates: Sequence[tuple[str, Rate]]  # measured elsewhere, such as an evaluation: (what, rate)
    gain: tuple[float, float, float] | None  # between the last two of ``rates``, with its interval
    base: Rate | None  # the base's success, and
    base_source: str  # where it was counted
    notes: Sequence[str]  # what a reader must know
    control_hz: float


def page(session: Session, about: About, clips: Sequence[tuple[Facts, Clip]]) -> str:
    """The whole file."""
    sections = [
        ('What was run', definitions(about.ran)),
        ('Success', success(session, about)),
        ('Over time', over_time(session, about)),
        ('Length, help and limits', behaviour(session)),
        ('Films', films(clips)),
        ('Episodes', episodes(session)),
    ]
    body = ''.join(f'<section><h2>{name}</h2>{content}</section>' for name, content in sections if content)
    notes = ''.join(f'<p class="note">{escape(note)}</p>' for note in about.notes)
    style, script = (PAGE / 'report.css').read_text(), (PAGE / 'report.js').read_text()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<title>{escape(session.task)}: session report</title><style>{style}</style></head><body>'
        f'<header><h1>{escape(session.task)}</h1>{tiles(session)}</header>{notes}<main>{body}</main>'
        f'<script>{script}</script></body></html>\n'
    )


def percent(rate: Rate) -> str:
    """A rate with its interval and its number of episodes."""
    return f'{rate.success:.0%} [{rate.low:.0%}, {rate.high:.0%}], n = {rate.n}'


def gained(difference: tuple[float, float, float]) -> str:
    """A difference in points of per cent, with its interval."""
    at, low, high = (round(100 * value) for value in difference)
    return f'{at:+d} points [{low:+d}, {high:+d}]'


def tiles(session: Session) -> str:
    """The few numbers that one looks for first."""
    counted = [item for item in session.episodes if item.counted]
    shown = [
        (f'{len(session.episodes)}', 'episodes'),
        (f'{sum(item.success for item in counted)}', 'successes'),
        (f'{sum(item.corrected for item in session.episodes)}', 'labels corrected'),
        (f'{sum(item.helped for item in session.episodes)}', 'helped by a person'),
        (f'{len(session.episodes) - len(counted)}', 'aborted'),
    ]
    return '<ul class="tiles">' + ''.join(f'<li><b>{number}</b>{name}</li>' for number, name in shown) + '</ul>'


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    rows = ''.join(f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in pairs)
    return f'<dl>{rows}</dl>'


def success(session: Session, about: About) -> str:
    """Each policy's success, and the difference of the two."""
    rates = [(f'{NAMES[arm]}, in these bags', session.rate(arm)) for arm in Arm]
    residual = session.curve(Arm.RESIDUAL)
    if len(residual.success) > WINDOW:
        rates.append((f'{NAMES[Arm.RESIDUAL]}, the last {WINDOW} of them', residual.rates()[-1]))
    rows = [(name, rate) for name, rate in (*rates, *about.rates) if rate is not None]
    text = '<table class="rates"><tbody>' + ''.join(
        f'<tr><th scope="row">{escape(name)}</th><td>{interval(rate)}</td><td>{percent(rate)}</td></tr>'
        for name, rate in rows
    ) + '</tbody></table>'  # fmt: skip
    for difference, where in ((session.difference(), 'in these bags'), (about.gain, 'in the evaluation')):
        if difference is not None:
            unknown = '' if difference[1] > 0 or difference[2] < 0 else ': which of the two is better is not known'
            text += f'<p>base + residual less base, {where}: <b>{gained(difference)}</b>{unknown}.</p>'
    said = ['Intervals are of 95 %: Wilson for a rate, Newcombe for a difference.']
    if len(session.versions) > 1:
        said.append(
            f'The residual was learning: {len(session.versions)} versions of it acted, and explored if the run did. '
            'Its rate in these bags is of the run as a whole, and of no policy that there is now.'
        )
    said.append('Aborted episodes, and those in which a person took over, are not counted.')
    return text + f'<p class="small">{" ".join(said)}</p>'


def over_time(session: Session, about: About) -> str:
    """The learning curve with the base's band, and the dip."""
    curves = {arm: session.curve(arm) for arm in Arm}
    drawn = {arm: curve for arm, curve in curves.items() if len(curve.success) > FIRST}
    if about.base is not None and Arm.RESIDUAL in drawn:
        drawn.pop(Arm.BASE, None)  # it does not change: its band says all
    if not drawn:
        return f'<p>Fewer than {FIRST + 1} episodes of each policy: a curve would say nothing.</p>'
    end = max(curve.steps[-1] for curve in drawn.values())

    def draw(chart: Chart) -> None:
        if about.base is not None:
            base = about.base
            chart.band([0, end], [base.low] * 2, [base.high] * 2, 'band base')
            chart.line([0, end], [base.success] * 2, 'line base dashed')
            chart.text(end, base.success, f'base {base.success:.0%}', 'base')
        chart.axes('control steps', lambda value: f'{value:.0%}', [0, 0.25, 0.5, 0.75, 1])
        for arm, curve in drawn.items():
            rates, steps = curve.rates()[FIRST - 1 :], curve.steps[FIRST - 1 :]
            kind = 'base' if arm == Arm.BASE else 'residual'
            chart.band(steps, [rate.low for rate in rates], [rate.high for rate in rates], f'band {kind}')
            chart.line(steps, [rate.success for rate in rates], f'line {kind}')

    minutes = end / about.control_hz / 60
    names = ' and '.join(f'<span class="key {arm.name.lower()}">{NAMES[arm]}</span>' for arm in drawn)
    text = for_screens(end, 1.0, draw, f'success over the newest {WINDOW} episodes against control steps')
    text += (
        f'<p class="small">{names}: success over the newest {WINDOW} episodes (fewer before), with its 95 % interval; '
        f'{end:,} steps are {minutes:.0f} minutes of robot time.'
    )
    if about.base is not None:
        text += f' Dashed: the base alone, {percent(about.base)} ({escape(about.base_source)}).'
    text += '</p>'
    dip = find_dip(curves[Arm.RESIDUAL], about.base) if about.base is not None else None
    if dip is not None:
        text += (
            f'<p>Dip: the worst {WINDOW} episodes in a row had {dip.window:.0%} success, <b>{dip.ratio:.2f}</b> times '
            f"the base's ([{dip.low:.2f}, {dip.high:.2f}] for that window). Of runs that stay exactly at the base, "
            f'{dip.chance:.0%} fall as low by luck; their median is {dip.chance_median:.2f}.</p>'
        )
    return text


def behaviour(session: Session) -> str:
    """How long episodes took, and who or what changed the policy's actions."""
    counted = [item for item in session.episodes if item.counted]
    if not counted:
        return ''
    most = max(item.steps for item in counted)

    def draw(chart: Chart) -> None:
        chart.axes('episode', lambda value: f'{value:.0f}', nice(most, 6))
        for place, item in enumerate(counted, start=1):
            said = 'success' if item.success else 'failure'
            chart.dot(place, item.steps, said, f'episode {item.episode_id}: {said}, {item.steps} steps')

    text = for_screens(len(counted), most, draw, 'control steps of each episode')
    text += '<p class="small">Control steps of each episode: <span class="key success">success</span>, '
    text += '<span class="key failure">failure</span> (hollow).</p>'
    pairs = []
    for name, wanted in (('successes', True), ('failures', False)):
        lengths = [item.steps for item in counted if item.success == wanted]
        if lengths:
            pairs.append(
                (
                    f'steps of {name}',
                    f'median {median(lengths):.0f}, {min(lengths)} to {max(lengths)}, n = {len(lengths)}',
                )
            )
    steps = sum(item.steps for item in session.episodes)
    for name, share in (
        ('a person acted', sum(item.taken_over for item in session.episodes)),
        ('clipped by the supervisor', sum(item.clipped for item in session.episodes)),
        ('held, nothing fit to execute', sum(item.held for item in session.episodes)),
    ):
        pairs.append((name, f'{share / steps:.1%} of {steps:,} steps'))
    helped = [item for item in counted if item.helped]
    if helped:
        pairs.append(('episodes with help', f'{len(helped)}, {sum(item.success for item in helped)} of them successes'))
    return text + definitions(pairs)


def films(clips: Sequence[tuple[Facts, Clip]]) -> str:
    """Films beside each other; paper and those who want no motion get the last picture."""
    if not clips:
        return ''
    found = []
    for item, clip in clips:
        film, last = (base64.b64encode(data).decode() for data in (clip.film, clip.last))
        said = 'success' if item.success else 'failure'
        about = f'episode {item.episode_id}, {NAMES[item.arm]}'
        found.append(
            '<figure><picture>'
            f'<source media="print, (prefers-reduced-motion: reduce)" srcset="data:image/webp;base64,{last}">'
            f'<img src="data:image/webp;base64,{film}" width="{clip.width}" height="{clip.height}" '
            f'alt="{about}: {said}"></picture>'
            f'<figcaption><span class="{said}">{said}</span> <a href="#e{item.episode_id}">{about}</a>, '
            f'seed {item.seed}, {item.steps} steps<br><span class="small">{escape(clip.source)}</span>'
            '</figcaption></figure>'
        )
    return (
        f'<div class="films">{"".join(found)}</div><p class="small">In real time. The bar below shows the time, and is '
        'orange while a person acts.</p>'
    )

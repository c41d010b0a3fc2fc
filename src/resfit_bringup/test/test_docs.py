"""What the docs quote is what the programs say and understand."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from pathlib import Path

import pytest

from resfit_bringup import cli

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / 'docs'
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason='the package is tested outside its checkout')
ANY = '...'


def said() -> set[str]:
    """Every text in the code, with ... in place of what is filled in."""
    texts = set(re.findall(r"(?:echo|say|fail) '([^']+)'", (ROOT / 'resfit').read_text()))
    texts |= set(re.findall(r"(?:echo|say|fail) '([^']+)'", (ROOT / 'setup.bash').read_text()))
    shell = re.findall(r'(?:say|fail) "([^"]+)"', (ROOT / 'resfit').read_text())
    texts |= {re.sub(r'\$\{?[^\s}]*[}\w]', ANY, text) for text in shell}
    for path in (ROOT / 'src').glob('*/resfit_*/**/*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else ANY for part in node.values)
                texts.add(''.join(str(part) for part in parts))
    return {text.removeprefix('resfit: ') for text in texts}


def quotes() -> list[str]:
    headings = re.findall(r'^### "(.*)"$', (DOCS / 'troubleshooting.md').read_text(), re.MULTILINE)
    return [heading.replace('\\"', '"') for heading in headings] if headings else ['none']


@pytest.fixture(scope='module')
def sources() -> set[str]:
    return said()


@pytest.mark.parametrize('quote', quotes() if DOCS.is_dir() else [])
def test_a_quoted_message_is_one_that_the_code_has(quote: str, sources: set[str]) -> None:
    """Word for word, but for what is filled in."""
    begin = quote.removeprefix('resfit: ')
    # an open end stands for the rest of the sentence as well
    pattern = re.compile('.*'.join(re.escape(part) for part in begin.split(ANY)), re.DOTALL)
    assert any(pattern.fullmatch(text) for text in sources), quote


def commands() -> list[tuple[str, str]]:
    found = []
    for path in [ROOT / 'README.md', *sorted(DOCS.glob('*.md'))]:
        for line in re.findall(r'^(?: {4})?(\./resfit [a-z].*)$', path.read_text(), re.MULTILINE):
            found.append((path.name, line))
    return found


@pytest.mark.parametrize(('page', 'line'), commands() if DOCS.is_dir() else [])
def test_a_command_in_the_docs_is_one_that_resfit_understands(page: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[1:] if word != '\\']
    if words[0] in ('setup', 'shell', 'test'):
        return
    args = argparse.Namespace(command='', resume=None, words=words)
    cli.parse(words, args)
    assert args.command == words[0]


def headings(page: Path) -> set[str]:
    """Anchors that a Markdown page has for its headings."""
    lines = re.findall(r'^#+ (.+)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', line.lower()).replace(' ', '-') for line in lines}


def test_links_between_pages_lead_somewhere() -> None:
    for path in [ROOT / 'README.md', *DOCS.rglob('*.md')]:
        for target, heading in re.findall(r'\]\(([^)#:]*)(?:#([^)]*))?\)', path.read_text()):
            there = path.parent / target if target else path
            assert there.exists(), f'{path.name}: {target}'
            assert not heading or heading in headings(there), f'{path.name}: {target}#{heading}'

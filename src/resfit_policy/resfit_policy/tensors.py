"""Reading safetensors that came from elsewhere: nothing is taken that is not exactly what is expected."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from resfit_policy.task import ConfigError

MAX_BYTES = 64 * 1024 * 1024  # more than this is refused unread


def read_tensors(data: bytes, wanted: str, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file of the format ``wanted``, called ``what`` in messages.

    Raises ConfigError where it is too large, truncated, or of another format.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f'{what} of {len(data)} bytes are larger than the {MAX_BYTES} allowed')
    try:
        header_size = int.from_bytes(data[:8], 'little')
        metadata = json.loads(data[8 : 8 + header_size])['__metadata__']
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{what} are not a whole safetensors file: {error}') from None
    if metadata.get('format') != wanted:
        raise ConfigError(f'{what} have format {metadata.get("format")!r}, this version reads {wanted!r}')
    return tensors, metadata


def fill(net: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Load ``tensors`` into ``net``. Raises ConfigError for other names, shapes or dtypes, or values not finite."""
    expected = net.state_dict()
    if set(expected) != set(tensors):
        raise ConfigError(f'{what} are of another architecture: {sorted(set(expected) ^ set(tensors))}')
    for name, value in expected.items():
        got = tensors[name]
        if got.shape != value.shape or got.dtype != value.dtype:
            raise ConfigError(
                f'{name}: expected {tuple(value.shape)} {value.dtype}, got {tuple(got.shape)} {got.dtype}'
            )
        if not torch.isfinite(got).all():
            raise ConfigError(f'{name} holds values that are not finite')
    net.load_state_dict(tensors)

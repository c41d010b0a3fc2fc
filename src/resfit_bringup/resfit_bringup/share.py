"""Where this package's data files are."""

from __future__ import annotations

from pathlib import Path


def share_folder() -> Path:
    """The installed share folder; next to the sources where the package is not installed."""
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory('resfit_bringup'))
    except (ImportError, LookupError):
        return Path(__file__).resolve().parents[1]

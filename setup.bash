# Source this file for the environment of ResFiT, from any folder: `source setup.bash`.
# ROS 2 Jazzy comes from /opt/ros/jazzy where that is present, otherwise from the wheels in .venv;
# never from both in one shell. `./resfit setup` makes what this file needs.
#
# shellcheck shell=bash

# Put the folder $2 first in the path-like variable named $1, unless it is in there.
_resfit_prepend() {
    case ":${!1:-}:" in
        *":$2:"*) ;;
        *) export "$1=$2${!1:+:${!1}}" ;;
    esac
}

_resfit_environment() {
    local root folder
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || return
    if [ ! -f "$root/.venv/bin/activate" ]; then
        echo "resfit: $root/.venv is missing; run $root/resfit setup first" >&2
        return 1
    fi
    if grep -q '^include-system-site-packages = true' "$root/.venv/pyvenv.cfg"; then
        if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
            echo 'resfit: this shell has ROS from wheels, this checkout uses apt ROS; open a new shell' >&2
            return 1
        fi
        # shellcheck disable=SC1091
        . /opt/ros/jazzy/setup.bash || return
        # shellcheck disable=SC1091
        . "$root/.venv/bin/activate"
        folder=$("$VIRTUAL_ENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        # apt ROS lists its folders in PYTHONPATH, which precedes the venv: put the venv's before them.
        _resfit_prepend PYTHONPATH "$folder"
    else
        case "${AMENT_PREFIX_PATH:-}" in
            */opt/ros/*)
                echo 'resfit: this shell has apt ROS, this checkout uses wheels; open a new shell' >&2
                return 1
                ;;
        esac
        # shellcheck disable=SC1091
        . "$root/.venv/bin/activate"
        # The venv plays the part of /opt/ros/jazzy.
        export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
        _resfit_prepend AMENT_PREFIX_PATH "$VIRTUAL_ENV"
        _resfit_prepend CMAKE_PREFIX_PATH "$VIRTUAL_ENV"
        for folder in "$VIRTUAL_ENV"/lib/python3.*/site-packages/ros_*.libs "$VIRTUAL_ENV/lib"; do
            _resfit_prepend LD_LIBRARY_PATH "$folder"
        done
        # The wheels start Python a second time to set the library path; it is set now.
        export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    fi
    export COLCON_DEFAULTS_FILE="${COLCON_DEFAULTS_FILE:-$root/colcon_defaults.yaml}"
    # Robots of the same network do not hear a simulation by accident; set SUBNET for two machines.
    export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
    if [ -f "$root/install/local_setup.bash" ]; then
        # shellcheck disable=SC1091
        . "$root/install/local_setup.bash"
    fi
}

if _resfit_environment; then
    unset -f _resfit_environment _resfit_prepend
else
    unset -f _resfit_environment _resfit_prepend
    return 1
fi

#!/usr/bin/env bash
# Installs what a build needs and is missing: system packages (apt or Homebrew) and the MLX wheel
# (into build/mlx, nothing outside the checkout). Asks for root only if a package is missing.
# With --cuda also what `cmake --preset cuda` needs besides the CUDA toolkit 13 and cuDNN 9.
set -euo pipefail
cd "$(dirname "$0")/.."

MLX_VERSION=0.32.4
CUDNN_FRONTEND_VERSION=1.32.0

apt_packages=(g++ cmake make pkg-config python3 python3-pip libopenblas-pthread-dev
  libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libfmt-dev libdeflate-dev zlib1g-dev
  libcurl4-openssl-dev libcpp-httplib-dev libprotobuf-dev protobuf-compiler
  libgtest-dev libgmock-dev libbenchmark-dev)

case "$(uname -s)" in
  Linux)
    missing=()
    for package in "${apt_packages[@]}"; do
      dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing+=("$package")
    done
    # pip may come from elsewhere than Debian (pyenv, a virtual environment).
    if python3 -m pip --version >/dev/null 2>&1; then
      missing=("${missing[@]/#python3-pip/}")
    fi
    missing=($(printf '%s\n' "${missing[@]:-}" | sed '/^$/d'))
    if ((${#missing[@]})); then
      echo "setup: installing ${missing[*]}"
      sudo=()
      if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
      "${sudo[@]}" apt-get update -qq
      DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
    fi
    extra=mlx-cpu
    ;;
  Darwin)
    brew install -q cmake fmt yaml-cpp nlohmann-json cli11 libdeflate protobuf cpp-httplib pkgconf googletest google-benchmark
    extra=mlx-metal
    ;;
  *)
    echo "setup: $(uname -s) is not supported (Linux and macOS are)" >&2
    exit 1
    ;;
esac

# The CUDA wheel holds all that a C++ program needs of MLX; CUDA's own libraries are the toolkit's.
stamp=build/mlx-cuda/.version-$MLX_VERSION-$CUDNN_FRONTEND_VERSION
if [ "${1:-}" = --cuda ] && [ ! -e "$stamp" ]; then
  echo "setup: installing the MLX $MLX_VERSION CUDA wheel into build/mlx-cuda"
  rm -rf build/mlx-cuda
  mkdir -p build/mlx-cuda/cudnn_frontend
  pip=(python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps)
  "${pip[@]}" --target build/mlx-cuda "mlx-cuda-13==$MLX_VERSION"
  "${pip[@]}" --target build/mlx-cuda/cudnn_frontend \
    "nvidia-cudnn-frontend==$CUDNN_FRONTEND_VERSION"
  touch "$stamp"
fi

# An MLX that CMake finds by itself goes first (Homebrew's, an own build).
if [ -n "${MLX_DIR:-}" ] || { command -v brew >/dev/null && brew list mlx >/dev/null 2>&1; }; then
  exit 0
fi
stamp=build/mlx/.version-$MLX_VERSION
if [ ! -e "$stamp" ]; then
  echo "setup: installing the MLX $MLX_VERSION wheel into build/mlx"
  rm -rf build/mlx
  mkdir -p build
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target build/mlx "mlx==$MLX_VERSION" "$extra==$MLX_VERSION"
  touch "$stamp"
fi

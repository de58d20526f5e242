# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
farm="$root/.farm"
tools="$farm/tools"

# Everything with a machine-wide name (bridges, short folders) carries this, so that two clones of
# the project never meet.
tag="$(printf '%s' "$root" | sha256sum | cut -c1-6)"

say() { printf 'kiln: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The architecture as container images name it.
architecture() {
  case "$(uname -m)" in
    x86_64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) uname -m ;;
  esac
}

# Is there an engine that Kiln can build on? It needs the containerd image store, for
# multi-platform images and the OCI layout output, and a client with buildx.
# With an argument: the engine at that address; without: the one that docker finds by itself.
engine_answers() {
  have docker || return 1
  local status
  status="$(DOCKER_HOST="${1:-${DOCKER_HOST:-}}" timeout 5 docker info --format '{{json .DriverStatus}}' 2>/dev/null)" || return 1
  [[ "$status" == *io.containerd.snapshotter* ]]
}

buildx_answers() { have docker && docker buildx version >/dev/null 2>&1; }

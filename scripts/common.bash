# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash disable=SC2034  # what is set here is used there

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
farm="$root/.farm"
tools="$farm/tools"

# Everything with a machine-wide name (bridges, short folders) carries this, so that two clones of
# the project never meet.
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
tag="$(printf '%s' "$root" | sha256 | cut -c1-6)"

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
  local status limit=(timeout 5)
  have timeout || limit=()
  status="$(DOCKER_HOST="${1:-${DOCKER_HOST:-}}" ${limit[@]+"${limit[@]}"} docker info --format '{{json .DriverStatus}}' 2>/dev/null)" || return 1
  [[ "$status" == *io.containerd.snapshotter* ]]
}

buildx_answers() { have docker && docker buildx version >/dev/null 2>&1; }

random_secret() { od -An -vtx1 -N "$1" /dev/urandom | tr -d ' \n' && echo; } # random_secret BYTES

# rabbitmq_definitions (USER PASSWORD TAGS CONFIGURE WRITE READ)…: what RabbitMQ loads at its first
# start. It keeps a password as salt, then the SHA-256 of salt and password.
rabbitmq_definitions() {
  python3 - "$@" <<'END'
import base64, hashlib, json, os, sys
users, permissions = [], []
words = sys.argv[1:]
while words:
    user, password, tags, configure, write, read = words[:6]
    words = words[6:]
    salt = os.urandom(4)
    digest = hashlib.sha256(salt + password.encode()).digest()
    users.append({"name": user, "tags": tags, "hashing_algorithm": "rabbit_password_hashing_sha256",
                  "password_hash": base64.b64encode(salt + digest).decode()})
    permissions.append({"user": user, "vhost": "/", "configure": configure, "write": write, "read": read})
json.dump({"users": users, "vhosts": [{"name": "/"}], "permissions": permissions}, sys.stdout, indent=2)
END
}

# stage NAME COMMAND…: runs it and keeps how long it took, for `stages` to print. A failure ends the
# script as ever (set -e), unless the caller handles it.
stage_lines=()
stage_name='' stage_began=0
stage() {
  stage_name="$1" stage_began="$SECONDS"
  shift
  printf '\n==> %s\n' "$stage_name"
  "$@"
  stage_ends "$?"
}
stage_ends() {
  local note=''
  (($1 == 0)) || note='  FAILED'
  stage_lines+=("$(printf '%5d s  %s%s' "$((SECONDS - stage_began))" "$stage_name" "$note")")
  stage_name=''
  return "$1"
}
stages() {
  [[ -z "$stage_name" ]] || stage_ends 1 || true
  ((${#stage_lines[@]} == 0)) || printf '\n==> seconds per stage\n%s\n' "$(printf '%s\n' "${stage_lines[@]}")"
}

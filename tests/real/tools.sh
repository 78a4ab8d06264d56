#!/usr/bin/env bash
# Makes sure of tools. Installs only as root and only with apt-get; otherwise it stops and names the
# command to run.
#
# usage: tools.sh GROUP...     build: to compile; node: to run the CLI and the Node SDK; test: for all tests
set -euo pipefail

missing=()
need() { # PACKAGE COMMAND...: the package, unless the command succeeds
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

stop() {
  echo "$1" >&2
  exit 1
}

for group in "$@"; do
  case "$group" in
    build)
      command -v cargo >/dev/null || stop "cargo is missing: install Rust 1.95 or newer from https://rustup.rs"
      need cmake command -v cmake
      need build-essential command -v cc
      ;;
    node)
      node -e 'const [a, b] = process.versions.node.split("."); process.exit(a * 100 + +b >= 2011 ? 0 : 1)' 2>/dev/null ||
        stop "node 20.11 or newer is missing: install it from https://nodejs.org"
      ;;
    test)
      need prometheus command -v promtool
      need nginx-light test -x /usr/sbin/nginx
      need haproxy test -x /usr/sbin/haproxy
      need util-linux setpriv --pdeathsig KILL true
      need curl command -v curl
      need openssl command -v openssl
      need python3-venv python3 -c 'import ensurepip'
      ;;
    *) stop "tools.sh: no such group: $group" ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

command="apt-get update && RUNLEVEL=1 apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  stop "missing: ${missing[*]}. On Debian or Ubuntu run: sudo sh -c '$command'"
fi
echo "installing: ${missing[*]}"
apt-get update -qq
# The run level of a machine that is being installed: nothing that is installed here is started as a service.
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

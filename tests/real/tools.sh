#!/usr/bin/env bash
# Makes sure of the tools that the build and the real tests need. Installs only as root and only with
# apt-get; otherwise it stops and names the command to run.
set -euo pipefail

missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v promtool >/dev/null || missing+=(prometheus)
command -v cc >/dev/null || missing+=(build-essential)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if ! command -v cargo >/dev/null; then
  echo "cargo is missing: install Rust 1.95 or newer from https://rustup.rs" >&2
  exit 1
fi
if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a * 100 + +b >= 2011 ? 0 : 1)' 2>/dev/null; then
  echo "node 20.11 or newer is missing: install it from https://nodejs.org" >&2
  exit 1
fi
[ ${#missing[@]} -gt 0 ] || exit 0

command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}. On Debian or Ubuntu run: sudo sh -c '$command'" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

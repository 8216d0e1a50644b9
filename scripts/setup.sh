#!/usr/bin/env bash
# Installs everything that building, testing and running need, by package name, on Debian 12 (or newer). Safe to run
# again: what is there stays as it is. Needs root, or sudo.
#
#   scripts/setup.sh               all of it
#   scripts/setup.sh --no-arm      without the AArch64 cross build and the emulator
#   scripts/setup.sh --no-tests    only what building and running need
set -euo pipefail
cd "$(dirname "$0")/.."

arm=yes tests=yes
for argument in "$@"; do
  case $argument in
    --no-arm) arm=no ;;
    --no-tests) arm=no tests=no ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup.sh: unknown option '$argument' (see --help)" >&2; exit 2 ;;
  esac
done

packages=(
  g++ clang-22 lld-22 llvm-22
  cmake ninja-build ccache pkg-config git ca-certificates
  libfmt-dev libsqlite3-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libhwloc-dev
  python3 python3-numpy python3-matplotlib python3-jinja2 python3-pip unzip
)
if [[ $tests == yes ]]; then
  packages+=(
    clang-tidy-22 clang-format-22 libclang-rt-22-dev  # checks and sanitizers
    libgtest-dev libbenchmark-dev sqlite3 python3-jsonschema
    chromium         # opens the report
    zsh fish man-db  # run the completions and the man pages
  )
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}"
  sudo=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "setup.sh: run as root, or install sudo" >&2; exit 1; }
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [[ $arm == yes ]]; then scripts/setup_aarch64.sh; fi
echo "setup: everything is installed"

#!/usr/bin/env bash
# Builds and passes the tests.
#
#   scripts/test.sh          g++ with preconditions checked: everything but the sanitizers and emulated Arm (minutes)
#   scripts/test.sh --all    also clang-22 release, asan+ubsan, tsan, emulated AArch64, formatting and clang-tidy
#
# SMEPILOT_SHARED_DIR names a folder with models/ and reference/ (default ../shared); tests that need it are skipped,
# and say so, where it is absent.
set -euo pipefail
cd "$(dirname "$0")/.."

all=no
for argument in "$@"; do
  case $argument in
    --all) all=yes ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "test.sh: unknown option '$argument' (see --help)" >&2; exit 2 ;;
  esac
done

jobs=$(nproc)
cmake_options=()
if command -v ccache >/dev/null; then
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1  # another checkout's objects are as good
  cmake_options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
if [[ -n ${SMEPILOT_SHARED_DIR:-} ]]; then cmake_options+=("-DSMEPILOT_SHARED_DIR=$SMEPILOT_SHARED_DIR"); fi

stage() { printf '\n=== %s (%ds so far)\n' "$1" "$SECONDS"; }

build() {  # preset [target…]
  local log
  log=$(cmake --preset "$1" "${cmake_options[@]}" 2>&1) || { printf '%s\n' "$log"; return 1; }
  cmake --build --preset "$1" -j "$jobs" ${2:+--target "${@:2}"} -- --quiet
}

setup_options=()
if [[ $all == no ]]; then setup_options+=(--no-arm); fi
stage "setup"
scripts/setup.sh "${setup_options[@]}"

if [[ $all == yes ]]; then
  stage "formatting"
  git ls-files '*.h' '*.cc' | xargs clang-format-22 --dry-run --Werror

  stage "release: clang-22"
  build release
  ctest --preset release

  # Its warnings are others than clang's: they are to stop this before the long stages do their work.
  stage "dev: g++, build"
  build dev

  stage "clang-tidy"
  scripts/run_clang_tidy.sh build/release

  stage "asan+ubsan"
  build asan
  ctest --preset asan

  stage "tsan: what has threads"
  build tsan thread_tests
  ctest --preset tsan -L threads

  stage "AArch64, emulated"
  scripts/test_aarch64.sh
fi

stage "dev: g++"
build dev
ctest --preset dev  # all tests: the other builds leave out those with the label once

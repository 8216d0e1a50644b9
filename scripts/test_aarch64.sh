#!/usr/bin/env bash
# Cross-builds everything for AArch64 and passes the tests under qemu-user, on several CPUs:
#
#   max,sve=off,sme=off    everything; dot products, i8mm and f16 arithmetic, no vectors longer than NEON's
#   neoverse-n1            kernels; dot products and f16 arithmetic, nothing newer
#   cortex-a72             kernels; neither
#   max,sve=off            kernels; a matrix unit but no SVE, as on Apple's
#   max                    kernels; all that the emulator knows
#
# Not everything on max,sve=off: QEMU 11.1 crashes there when it delivers a signal, and the end-to-end tests send some.
#
#   scripts/test_aarch64.sh [QEMU_CPU...]    only these; the first one runs everything
#
# An emulator proves results, never speed. About seven minutes on two idle cores with an empty compiler cache.
set -euo pipefail
cd "$(dirname "$0")/.."

cpus=("$@")
if ((${#cpus[@]} == 0)); then cpus=(max,sve=off,sme=off neoverse-n1 cortex-a72 max,sve=off max); fi

cmake_options=()
if command -v ccache >/dev/null; then
  cmake_options+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
if [[ -n ${SMEPILOT_SHARED_DIR:-} ]]; then cmake_options+=("-DSMEPILOT_SHARED_DIR=$SMEPILOT_SHARED_DIR"); fi

scripts/setup_aarch64.sh
cmake --preset aarch64 "${cmake_options[@]}" -Wno-dev --log-level=WARNING
cmake --build --preset aarch64 -j "$(nproc)" -- --quiet

labels=()
for cpu in "${cpus[@]}"; do
  echo "--- QEMU_CPU=$cpu (${SECONDS}s so far)"
  QEMU_CPU=$cpu ctest --preset aarch64 -j "$(nproc)" --timeout 240 --quiet "${labels[@]}" \
    --output-log "build/aarch64/Testing/$cpu.log" || { cat "build/aarch64/Testing/$cpu.log"; exit 1; }
  grep -E '^[0-9]+% tests passed' "build/aarch64/Testing/$cpu.log"
  labels=(-L kernel)
done
echo "AArch64: passed on ${cpus[*]} (${SECONDS}s)"

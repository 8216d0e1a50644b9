// The roof beside the numbers: peak rate and read bandwidth of one worker, measured at start (two seconds) by the
// calibration's own code, so that each benchmark says what share of them it reached. `--no-roof` leaves it out.
#pragma once
#include <benchmark/benchmark.h>

#include <cstddef>
#include <memory>

#include "kernels/abi/kernel_variant.h"
#include "profiles/roofline.h"

namespace smepilot::bench {

// Takes --no-roof out of the arguments; measures unless it was there or only names are wanted. Call it first in main.
void start_roof(int* argc, char** argv);

// Counters of a benchmark whose iterations each do `flops` and move `bytes`: flop/s and B/s, and with a roof %peak (of
// the unit in the type that the variant multiplies) and %read (of the level that `bytes`, or memory, are in; the
// library prints "/s" after these too).
void set_rates(benchmark::State& state, const KernelVariant& variant, double flops, double bytes, bool memory);

}  // namespace smepilot::bench

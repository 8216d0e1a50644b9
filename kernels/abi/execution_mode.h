// Who executes an operator call: the vector cores, the matrix unit, or both at once.
#pragma once
#include <stdint.h>

namespace smepilot {

enum class ExecutionUnit : uint8_t { kCpu, kMatrix };
enum class ExecutionMode : uint8_t { kCpu, kMatrix, kCoop };
inline constexpr const char* kUnitNames[] = {"cpu", "matrix"};
inline constexpr const char* kModeNames[] = {"cpu", "matrix", "coop"};

// Which dimension of the output a coop matmul divides between the units. Never k.
enum class SplitDim : uint8_t { kM, kN };
inline constexpr const char* kSplitDimNames[] = {"m", "n"};

}  // namespace smepilot

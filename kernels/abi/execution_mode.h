// Who executes an operator call: the vector cores, the matrix unit, or both at once.
#pragma once
#include <stdint.h>

namespace smepilot {

enum class ExecutionUnit : uint8_t { kCpu, kMatrix };
enum class ExecutionMode : uint8_t { kCpu, kMatrix, kCoop };

}  // namespace smepilot

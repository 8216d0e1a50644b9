// smepilot-run --dump-logits: the logits of every position of a prompt, evaluated in one batch, and of n tokens
// generated greedily one by one. Format: int32 n_vocab, int32 n_rows, then per row int32 input token and n_vocab f32.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace smepilot {

// Returns the tokens: the prompt's, then the greedy ones. The last one generated is not evaluated any more, so there
// are prompt + n - 1 rows. The file appears whole or not at all; once `cancel` is set, not at all.
Result<std::vector<int32_t>> dump_logits(Engine& engine, const std::vector<int32_t>& prompt, uint32_t n,
                                         const std::string& path, const std::atomic<bool>& cancel);

}  // namespace smepilot

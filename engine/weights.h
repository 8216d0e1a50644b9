// The weights of a model in memory: every matrix packed into the layout that the kernels read (or mapped as an earlier
// run packed it), norm vectors as f32. A token embedding that is not the output matrix, too, is left in the file, where
// only the rows in use are read.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/weight_cache.h"
#include "engine/weight_cache_writer.h"
#include "engine/weight_layout.h"
#include "kernels/base/aligned_buffer.h"
#include "kernels/driver/operators.h"
#include "profiles/model_file.h"

namespace smepilot {

struct LayerWeights {
  const float* attn_norm = nullptr;    // [embedding]
  const float* ffn_norm = nullptr;     // [embedding]
  const float* attn_q_norm = nullptr;  // [head_dim], nullptr where the architecture has none
  const float* attn_k_norm = nullptr;  // [head_dim], likewise
  const float* attn_q_bias = nullptr;  // [heads * head_dim], likewise
  const float* attn_k_bias = nullptr;  // [kv_heads * head_dim], likewise
  const float* attn_v_bias = nullptr;  // [kv_heads * head_dim], likewise
  PackedMatrix attn_q, attn_k, attn_v, attn_output;
  PackedMatrix ffn_gate, ffn_up, ffn_down;  // n = 0 in a mixture of experts
  PackedMatrix router;                      // [experts][embedding], n = 0 in a dense model
  std::vector<PackedMatrix> expert_gate, expert_up, expert_down;
};

enum class WeightSource : uint8_t {
  kMemory,  // packed into memory
  kPacked,  // packed into a new file of the cache, which is mapped
  kCache,   // from the cache
};

struct WeightLoadReport {
  WeightSource source = WeightSource::kMemory;
  double seconds = 0;
  std::string cache_file;          // "": none
  std::vector<std::string> notes;  // for the user
};

class Weights {
 public:
  // All matrices with type and size, norm vectors in place, nothing packed yet.
  static Weights describe(const ModelFile& file);
  // Maps the packed matrices from the cache, or packs them with the workers of `pool`. `progress` is called with the
  // fraction done. The file must stay open as long as the weights are used (embedding rows are read from it).
  // Errors: out of memory. What goes wrong with the cache becomes a note.
  Status load(const GgufFile& gguf, WorkerPool& pool, const WeightCacheOptions& cache,
              const WeightProgress& progress = nullptr);
  // Waits until a new file of the cache has its name. Error: it could not be stored.
  Status finish_cache();

  std::vector<LayerWeights> layers;
  const float* output_norm = nullptr;   // [embedding]
  const float* rope_factors = nullptr;  // [rope_dims/2], nullptr: none
  PackedMatrix output;                  // [vocab][embedding], the embedding itself where that is tied

  size_t packed_bytes() const noexcept { return layout_.bytes(); }
  const WeightLoadReport& report() const noexcept { return report_; }

 private:
  // Calls fn(matrix, tensor, slice) in the layout's order; tensor is nullptr without a file.
  template <typename Fn>
  void for_each_matrix(const ModelFile* file, const Fn& fn);
  Status pack_into_memory(const GgufFile& gguf, WorkerPool& pool, const WeightProgress& progress);

  WeightLayout layout_;
  AlignedBuffer memory_;  // kMemory
  std::optional<CachedWeights> cached_;
  std::unique_ptr<WeightCacheWriter> writer_;
  WeightLoadReport report_;
};

}  // namespace smepilot

// The Llama-like architectures, as data. A row of `architectures()` says which parts an architecture's graph has, a row
// of `layer_tensors()` which tensor a part needs and of which size. The loader, the model's shape and the forward pass
// read these tables, so that another Llama-like architecture is one row, and another optional tensor is one row and
// the line of engine/transformer.cc that uses it.
// Names of architectures and tensors: gguf-py/gguf/constants.py of github.com/ggml-org/llama.cpp.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace smepilot {

struct GgufTensor;
struct LayerTensors;

// What a graph may be made of. A set of them is a bit mask.
enum GraphPart : uint32_t {
  kPartCore = 1u << 0,      // norms and attention: every graph has it
  kPartDenseFfn = 1u << 1,  // one gated feed-forward network per layer
  kPartExperts = 1u << 2,   // a router and experts instead
  kPartQkNorm = 1u << 3,    // RMS norm of each head of Q and K before the rotation
  kPartQkvBias = 1u << 4,   // biases of Q, K and V, added before norm and rotation
};

struct Architecture {
  const char* name;          // GGUF's general.architecture
  bool rope_interleaved;     // rotated pairs: (2i, 2i+1), else (i, i + rope_dims/2)
  uint32_t parts;            // GraphParts that it always has
  uint32_t optional_parts;   // GraphParts that it has if the file has their tensors
  uint32_t rope_free_every;  // layers number n, 2n, … (from 1) are not rotated; 0: all are
};

std::span<const Architecture> architectures() noexcept;
const Architecture* find_architecture(std::string_view name) noexcept;  // nullptr if there is none
std::string architecture_names();                                       // "llama, qwen2, …"

// Sizes that tensors are made of, see HyperParameters.
enum class Dim : uint8_t { kNone, kEmbedding, kQ, kKv, kHeadDim, kFeedForward, kExperts, kExpertFeedForward };

struct LayerTensorRow {
  const char* name;  // blk.N.<name>; a matrix's role is the part before the last point
  const GgufTensor* LayerTensors::* member;
  GraphPart part;
  bool matrix;  // of any weight type; else an f32 vector that the graph reads as it is
  Dim size[3];  // GGUF's order: the contiguous dimension first
};
std::span<const LayerTensorRow> layer_tensors() noexcept;

}  // namespace smepilot

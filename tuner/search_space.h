// The search space of one operator: every way in which this build could execute it here. Nothing is left out silently:
// what cannot run, what makes no sense and what the roofline rules out stays in the list with its reason.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "db/measurement_store.h"
#include "kernels/abi/isa.h"
#include "profiles/model_shape.h"
#include "profiles/platform.h"
#include "profiles/roofline.h"

namespace smepilot {

struct SpaceEntry {
  Candidate candidate;
  double predicted_ns = 0;                            // by the roofline; 0: not priced
  MeasurementStatus status = MeasurementStatus::kOk;  // kOk: open to be measured. Else why it will not be
  std::string reason;                                 // one clause, "" for kOk
  bool is_default = false;
};

struct SearchSpace {
  OperatorShape shape = {};
  std::vector<SpaceEntry> entries;  // in order of preference of their variants; exactly one is the default
  size_t default_index = 0;
};

// An operator shape of the model, with everything that calls it.
struct OperatorTask {
  struct Use {
    std::string role;
    uint32_t calls = 0;  // per pass
  };
  OperatorShape shape = {};
  std::vector<Use> uses;
  uint64_t pass_bytes = 0;  // operands that a pass reads between two uses of the same bytes: how cold they are

  uint32_t calls() const noexcept;
  std::string roles() const;  // "attn_q, attn_output"
};

// Whether a pass of m tokens may be one step of m sequences (a server's batch), and not only a piece of a prompt.
bool is_decode_batch(uint32_t m) noexcept;

// The operator shapes of passes of each m (prompt batches and batched decode) and, for attention, of each context
// length that is at least m. Shapes that several roles share appear once. Ordered by m, decode first.
std::vector<OperatorTask> operator_tasks(const ModelShape& model, std::span<const uint32_t> ms,
                                         std::span<const uint32_t> contexts);

// Worker counts worth trying: powers of two up to the physical cores, all cores, and all logical CPUs.
std::vector<uint32_t> worker_counts(const Platform& platform);

// A machine with matrix units beside its vector cores.
struct MatrixUnits {
  uint32_t units = 0;                  // 0: none, or none to share work with
  const Roofline* roofline = nullptr;  // says where splits are tried; nullptr: around the middle
};

// Candidates of the shape with the variants that `isa` allows, and the refused ones. `workers` are the counts to try,
// the default uses `default_workers`: so many also the two units have together in mode kCoop. Error: no variant can run
// the shape.
Result<SearchSpace> make_search_space(const OperatorShape& shape, IsaSet isa, std::span<const uint32_t> workers,
                                      uint32_t default_workers, const MatrixUnits& matrix = {});

// The grid on which splits of `size` rows or columns are tried: a 64th of it, whole panels.
uint32_t split_step(uint32_t size) noexcept;

// Fills in predicted_ns of the open entries: the roofline's price, stretched by uneven division among the workers.
void price_space(SearchSpace& space, const Roofline& roofline);

struct PruneRule {
  double factor = 2.5;          // keep what is predicted within this factor of the best prediction
  double variant_factor = 8.0;  // keep each variant's best candidate unless it is beyond this
};
// Marks open entries as pruned, with both predictions in the reason. The default is never pruned; entries without a
// price are kept.
void prune_space(SearchSpace& space, const PruneRule& rule = {});

// "matmul.f32.q8.q4_0.16x16.avx512vnni.dot x2 mc128 nc64"
std::string describe(const Candidate& candidate);
// The same without blocking and split: "… x2", "… x1 + … x1".
std::string describe_kernel(const Candidate& candidate);
// "matmul q4_0 m=1 n=576 k=576", "attention f16 m=1 kv=512 heads=9/3 d=64"
std::string describe(const OperatorShape& shape);
// 8.2 ns, 14.1 us, 3.20 ms, 1.25 s: three significant digits.
std::string format_ns(double ns);
// "cpu", "coop", and for the matrix unit its name on this platform ("amx", "sme"; "matrix" where it has none).
std::string mode_name(ExecutionMode mode, const Platform& platform);

// Blocking and split.
bool same_blocking(const Candidate& a, const Candidate& b) noexcept;

// The candidate that executes `coop` with one side's kernel and workers alone.
bool is_side_of(const Candidate& candidate, const Candidate& coop) noexcept;

// True if a is the simpler choice where both are equally fast: cpu before matrix before coop, fewer workers, a static
// split, the default, the default's blocking, the preferred variant (the earlier entry).
bool simpler(const SearchSpace& space, size_t a, size_t b) noexcept;

}  // namespace smepilot

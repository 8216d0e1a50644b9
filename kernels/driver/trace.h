// A timeline of what each worker did: begin and end of every task, for `smepilot-run --trace`. Off, a task costs one
// predictable branch; on, two readings of the clock and a store into its worker's buffer. Buffers have a fixed size:
// what no longer fits is counted, and said.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/abi/execution_mode.h"
#include "kernels/base/status.h"

namespace smepilot {

struct TraceEvent {
  int64_t begin_ns, end_ns;  // of a steady clock; end_ns kInstant: something that happened and took no time
  const char* name;          // of the task: a string literal, like `role`
  const char* role;          // of the operator that it is a part of: attn_qkv, attention, …; nullptr: unknown
  uint32_t index;            // which of the operator's: a block of rows, a first task
  uint32_t tile;             // which of the block's, in a pipeline
  ExecutionUnit unit;        // that executed it
  ExecutionMode mode;        // of the operator
};

inline constexpr int64_t kInstant = -1;

// Starts recording, with room for that many events of each of so many workers; what was recorded before is forgotten.
// Not to be called, like the functions below, while operators run. One timeline per process: of pools that run at the
// same time, only one may be recorded.
void start_trace(unsigned workers, size_t events_per_worker = size_t{1} << 17);
void stop_trace() noexcept;

unsigned trace_workers() noexcept;
std::span<const TraceEvent> trace_events(unsigned worker) noexcept;  // in the order in which they ended
uint64_t trace_dropped() noexcept;                                   // events for which there was no room

// The timeline in the trace-event format that Perfetto and chrome://tracing read: a thread per worker, named by the
// unit that it served.
std::string trace_json();
Status write_trace(const std::string& path);

namespace trace_detail {
inline std::atomic<bool> on{false};
inline thread_local unsigned worker = 0;  // which of its pool's the calling thread is
inline const char* role = nullptr;        // of the operator that runs; changed between operators only
int64_t now_ns() noexcept;
void record(const TraceEvent& event) noexcept;
}  // namespace trace_detail

// Something that happened just now: a mark on the calling worker's timeline.
inline void trace_instant(const char* name, const char* role, ExecutionMode mode, uint32_t index) noexcept {
  if (!trace_detail::on.load(std::memory_order_relaxed)) [[likely]]
    return;
  trace_detail::record({trace_detail::now_ns(), kInstant, name, role, index, 0, ExecutionUnit::kCpu, mode});
}

// One task, from here to the end of the scope.
class TraceScope {
 public:
  TraceScope(const char* name, ExecutionUnit unit, ExecutionMode mode, uint32_t index = 0, uint32_t tile = 0) noexcept {
    if (trace_detail::on.load(std::memory_order_relaxed)) [[unlikely]]
      event_ = {trace_detail::now_ns(), 0, name, trace_detail::role, index, tile, unit, mode};
  }
  ~TraceScope() {
    if (event_.name == nullptr) [[likely]]
      return;
    event_.end_ns = trace_detail::now_ns();
    trace_detail::record(event_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  TraceEvent event_{0, 0, nullptr, nullptr, 0, 0, ExecutionUnit::kCpu, ExecutionMode::kCpu};
};

// The operator that the tasks up to the end of the scope are parts of; itself an event of the calling thread. Not to be
// nested.
class TraceOperator {
 public:
  explicit TraceOperator(const char* role, ExecutionMode mode = ExecutionMode::kCpu) noexcept
      : scope_(role, mode == ExecutionMode::kCpu ? ExecutionUnit::kCpu : ExecutionUnit::kMatrix, mode) {
    trace_detail::role = role;
  }
  ~TraceOperator() { trace_detail::role = nullptr; }
  TraceOperator(const TraceOperator&) = delete;
  TraceOperator& operator=(const TraceOperator&) = delete;

 private:
  TraceScope scope_;
};

}  // namespace smepilot

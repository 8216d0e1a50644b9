#include "kernels/driver/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <vector>

#include "kernels/base/atomic_file.h"

namespace smepilot {
namespace {

struct alignas(64) Buffer {
  std::unique_ptr<TraceEvent[]> events;
  size_t count = 0, capacity = 0;
  uint64_t dropped = 0;
};

struct Timeline {
  std::vector<Buffer> buffers;
  std::atomic<uint64_t> of_nobody{0};  // events of workers that have no buffer
  int64_t begin_ns = 0;
};
Timeline& timeline() noexcept {
  static Timeline t;
  return t;
}

}  // namespace

int64_t trace_detail::now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void trace_detail::record(const TraceEvent& event) noexcept {
  Timeline& t = timeline();
  if (worker >= t.buffers.size()) {
    t.of_nobody.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  Buffer& b = t.buffers[worker];
  if (b.count < b.capacity)
    b.events[b.count++] = event;
  else
    ++b.dropped;
}

void start_trace(unsigned workers, size_t events_per_worker) {
  stop_trace();
  Timeline& t = timeline();
  t.buffers = std::vector<Buffer>(workers);
  for (Buffer& b : t.buffers) {
    b.events = std::make_unique<TraceEvent[]>(events_per_worker);
    b.capacity = events_per_worker;
  }
  t.of_nobody.store(0, std::memory_order_relaxed);
  t.begin_ns = trace_detail::now_ns();
  trace_detail::on.store(true, std::memory_order_relaxed);
}

void stop_trace() noexcept {
  trace_detail::on.store(false, std::memory_order_relaxed);
}

unsigned trace_workers() noexcept {
  return static_cast<unsigned>(timeline().buffers.size());
}

std::span<const TraceEvent> trace_events(unsigned worker) noexcept {
  const Buffer& b = timeline().buffers[worker];
  return {b.events.get(), b.count};
}

uint64_t trace_dropped() noexcept {
  const Timeline& t = timeline();
  uint64_t dropped = t.of_nobody.load(std::memory_order_relaxed);
  for (const Buffer& b : t.buffers) dropped += b.dropped;
  return dropped;
}

std::string trace_json() {
  std::string json =
      fmt::format(R"_({{"displayTimeUnit":"ns","otherData":{{"dropped_events":{}}},"traceEvents":[)_", trace_dropped());
  const auto out = std::back_inserter(json);
  const char* separator = "\n";
  for (unsigned w = 0; w < trace_workers(); ++w) {
    const std::span<const TraceEvent> events = trace_events(w);
    const bool matrix =
        std::any_of(events.begin(), events.end(), [](const TraceEvent& e) { return e.unit == ExecutionUnit::kMatrix; });
    fmt::format_to(out, R"_({}{{"ph":"M","name":"thread_name","pid":1,"tid":{},"args":{{"name":"worker {} ({})"}}}})_",
                   separator, w, w, kUnitNames[matrix ? 1 : 0]);
    separator = ",\n";
    for (const TraceEvent& e : events) {
      const char* const unit = kUnitNames[static_cast<size_t>(e.unit)];
      const bool instant = e.end_ns == kInstant;
      fmt::format_to(out, R"_({}{{"ph":"{}","name":"{}","cat":"{}","pid":1,"tid":{},"ts":{:.3f},)_", separator,
                     instant ? "i" : "X", e.name, unit, w, static_cast<double>(e.begin_ns - timeline().begin_ns) / 1e3);
      if (instant)
        json += R"_("s":"p",)_";
      else
        fmt::format_to(out, R"_("dur":{:.3f},)_", static_cast<double>(e.end_ns - e.begin_ns) / 1e3);
      fmt::format_to(out, R"_("args":{{"operator":"{}","mode":"{}","unit":"{}","index":{},"tile":{}}}}})_",
                     e.role == nullptr ? "" : e.role, kModeNames[static_cast<size_t>(e.mode)], unit, e.index, e.tile);
    }
  }
  json += "\n]}\n";
  return json;
}

Status write_trace(const std::string& path) {
  AtomicFile file(path);
  file.write(trace_json());
  return file.commit();
}

}  // namespace smepilot

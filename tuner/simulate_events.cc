// The engine: tasks progress as fast as their worker computes and the shared memory feeds them.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "kernels/base/text.h"
#include "tuner/simulate.h"

namespace smepilot {
namespace {

constexpr double kDone = 1e-12;  // of a phase
constexpr double kInfinity = std::numeric_limits<double>::infinity();

enum class Phase : uint8_t { kIdle, kWork, kWrite };

struct Worker {
  ExecutionUnit unit = ExecutionUnit::kCpu;
  Phase phase = Phase::kIdle;
  SimTask task;
  double begin_ns = 0;
  double left = 0;       // of the phase, from 1 to 0
  double speed = 0;      // of the phase per ns
  double most = 0;       // speed by arithmetic alone
  double memory_ns = 0;  // of the whole memory for all of the phase
  double share = 0;      // of the memory
};

size_t index(ExecutionUnit unit) {
  return static_cast<size_t>(unit);
}

class Events {
 public:
  Events(const SimMachine& machine, SimWork& work, bool keep, SimResult& result)
      : machine_(machine), work_(work), keep_(keep), out_(result), now_(result.ns) {
    for (const ExecutionUnit unit : {ExecutionUnit::kMatrix, ExecutionUnit::kCpu})
      for (unsigned i = 0; i < machine.workers[index(unit)]; ++i) {
        workers_.emplace_back();
        workers_.back().unit = unit;
      }
  }

  void run() {
    for (;;) {
      hand_out();
      if (!set_speeds()) break;
      advance();
    }
    out_.ns = now_;
  }

 private:
  void hand_out() {
    for (unsigned i = 0; i < workers_.size(); ++i) {
      Worker& w = workers_[i];
      if (w.phase != Phase::kIdle || !work_.next(i, w.unit, w.task)) continue;
      w.phase = Phase::kWork;
      w.left = 1;
      w.begin_ns = now_;
      ++out_.tasks;
    }
  }

  // Of each worker, by what all of them do now. False: nobody does anything.
  bool set_speeds() {
    bool multiplies[2] = {false, false}, moves[2] = {false, false};
    bool any = false;
    for (const Worker& w : workers_) {
      if (w.phase == Phase::kIdle) continue;
      any = true;
      multiplies[index(w.unit)] |= w.phase == Phase::kWork && w.task.flops > 0;
      moves[index(w.unit)] |= w.phase == Phase::kWrite || w.task.read_bytes > 0;
    }
    const bool both = multiplies[0] && multiplies[1], both_move = moves[0] && moves[1];
    double demand = 0;
    for (Worker& w : workers_) {
      if (w.phase == Phase::kIdle) continue;
      const size_t u = index(w.unit);
      const double workers = machine_.workers[u];
      double compute_ns = 0;
      if (w.phase == Phase::kWork) {
        const double gflops = both ? machine_.both_gflops[u] : machine_.gflops[u];
        if (w.task.flops > 0) compute_ns += w.task.flops * workers / gflops;
        if (w.task.exps > 0) compute_ns += w.task.exps * workers / machine_.exp_geps[u];
        w.memory_ns = w.task.read_bytes / (both_move ? machine_.both_read_gbps : machine_.read_gbps[u]);
      } else {
        w.memory_ns = w.task.write_bytes / (both_move ? machine_.both_write_gbps : machine_.write_gbps[u]);
      }
      w.most = compute_ns > 0 ? 1 / compute_ns : kInfinity;
      w.share = w.memory_ns > 0 ? std::min(machine_.worker_share[u], w.most * w.memory_ns) : 0;
      demand += w.share;
    }
    if (demand > 1) divide();
    for (Worker& w : workers_)
      if (w.phase != Phase::kIdle) w.speed = w.memory_ns > 0 ? std::min(w.most, w.share / w.memory_ns) : w.most;
    return any;
  }

  // More is asked of the memory than it has: equal shares, and what some do not need goes to the others.
  void divide() {
    double free = 1;
    std::vector<Worker*> asking;
    for (Worker& w : workers_)
      if (w.phase != Phase::kIdle && w.share > 0) asking.push_back(&w);
    std::stable_sort(asking.begin(), asking.end(),
                     [](const Worker* a, const Worker* b) { return a->share < b->share; });
    for (size_t i = 0; i < asking.size(); ++i) {
      asking[i]->share = std::min(asking[i]->share, free / static_cast<double>(asking.size() - i));
      free -= asking[i]->share;
    }
  }

  void advance() {
    double step = kInfinity;
    for (const Worker& w : workers_)
      if (w.phase != Phase::kIdle) step = std::min(step, w.speed == kInfinity ? 0 : w.left / w.speed);
    double used = 0;
    for (const Worker& w : workers_)
      if (w.phase != Phase::kIdle && w.memory_ns > 0) used += w.speed * w.memory_ns;
    if (step > 0) out_.peak_memory = std::max(out_.peak_memory, used);
    out_.memory_ns += used * step;
    now_ += step;
    for (unsigned i = 0; i < workers_.size(); ++i) {
      Worker& w = workers_[i];
      if (w.phase == Phase::kIdle) continue;
      w.left -= w.speed == kInfinity ? w.left : w.speed * step;
      if (w.left > kDone) continue;
      if (w.phase == Phase::kWork && w.task.write_bytes > 0) {
        w.phase = Phase::kWrite;
        w.left = 1;
      } else {
        finish(i);
      }
    }
  }

  void finish(unsigned i) {
    Worker& w = workers_[i];
    const size_t u = index(w.unit);
    w.phase = Phase::kIdle;
    out_.busy_ns[u] += now_ - w.begin_ns;
    out_.flops[u] += w.task.flops;
    out_.exps[u] += w.task.exps;
    out_.read_bytes += w.task.read_bytes;
    out_.write_bytes += w.task.write_bytes;
    if (keep_) out_.events.push_back({w.begin_ns, now_, i, w.unit, w.task.name, w.task.index, w.task.tile});
    work_.done(i, w.unit, w.task);
  }

  const SimMachine& machine_;
  SimWork& work_;
  const bool keep_;
  SimResult& out_;
  double now_;
  std::vector<Worker> workers_;
};

}  // namespace

void run_events(const SimMachine& machine, SimWork& work, bool keep_events, SimResult& result) {
  Events(machine, work, keep_events, result).run();
}

std::string sim_trace_json(const SimMachine& machine, const SimResult& result, const std::string& title) {
  std::string json =
      fmt::format(R"_({{"displayTimeUnit":"ns","otherData":{{"simulated":"{}"}},"traceEvents":[)_", json_escape(title));
  const auto out = std::back_inserter(json);
  const unsigned matrix = machine.workers[1], all = matrix + machine.workers[0];
  for (unsigned w = 0; w < all; ++w)
    fmt::format_to(
        out, R"_({}{{"ph":"M","name":"thread_name","pid":1,"tid":{},"args":{{"name":"simulated worker {} ({})"}}}})_",
        w == 0 ? "\n" : ",\n", w, w, kUnitNames[w < matrix ? 1 : 0]);
  for (const SimEvent& e : result.events)
    fmt::format_to(out,
                   R"_(,{}{{"ph":"X","name":"{}","cat":"{}","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},)_"
                   R"_("args":{{"index":{},"tile":{}}}}})_",
                   "\n", e.name, kUnitNames[index(e.unit)], e.worker, e.begin_ns / 1e3, (e.end_ns - e.begin_ns) / 1e3,
                   e.index, e.tile);
  json += "\n]}\n";
  return json;
}

}  // namespace smepilot

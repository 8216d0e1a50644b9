// Who takes which task of an operator.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace smepilot {

// Tasks in as many contiguous shares as there are workers. A worker takes those of its own share from the front:
// operators that are cut the same way then give it the rows that it has written in the one before, which its caches
// hold (they count where cores do not share one: measured on two core complexes of Zen 4, prefill of a 1B model gains 6
// %). When they are done, it takes others' from the back: a worker whose core is shared or slow holds the rest up for a
// task.
class TaskShares {
 public:
  static constexpr unsigned kMost = 16;  // more workers than that have a share among some

  TaskShares() noexcept = default;
  TaskShares(uint32_t tasks, unsigned workers) noexcept {
    reset(workers);
    add(tasks);
    tasks_ = tasks;
  }

  // Before workers begin: no tasks, and then so many more, cut at bound() into the shares.
  void reset(unsigned workers) noexcept {
    workers_ = std::max(workers, 1u);
    for (Share& s : shares_) s.span.store(0, std::memory_order_relaxed);
  }
  void add(uint32_t tasks) noexcept {
    for (unsigned s = 0; s < shares(); ++s)
      shares_[s].span.fetch_add(uint64_t{bound(tasks, s + 1) - bound(tasks, s)} << 32, std::memory_order_relaxed);
  }

  unsigned shares() const noexcept { return std::min(workers_, kMost); }
  // Where the share begins of so many tasks; that of the number of shares: `tasks`.
  uint32_t bound(uint32_t tasks, unsigned share) const noexcept {
    return static_cast<uint32_t>(uint64_t{tasks} * share / shares());
  }

  // The next task for a worker, by its number in a share. False: none is left.
  bool take(unsigned worker, unsigned& share, uint32_t& index) noexcept {
    const unsigned own = worker < workers_ ? worker * shares() / workers_ : 0;
    for (unsigned i = 0; i < shares(); ++i) {
      share = (own + i) % shares();
      if (take_one(shares_[share].span, i == 0, index)) return true;
    }
    return false;
  }
  // The same by its number among all, where the constructor was told how many there are.
  bool take(unsigned worker, uint32_t& task) noexcept {
    unsigned share = 0;
    if (!take(worker, share, task)) return false;
    task += bound(tasks_, share);
    return true;
  }

 private:
  struct alignas(64) Share {
    std::atomic<uint64_t> span{0};  // first task, and above it the end
  };

  static bool take_one(std::atomic<uint64_t>& span, bool front, uint32_t& index) noexcept {
    uint64_t now = span.load(std::memory_order_relaxed);
    for (;;) {
      const uint32_t first = static_cast<uint32_t>(now), end = static_cast<uint32_t>(now >> 32);
      if (first >= end) return false;
      index = front ? first : end - 1;
      if (span.compare_exchange_weak(now, front ? now + 1 : now - (uint64_t{1} << 32), std::memory_order_relaxed))
        return true;
    }
  }

  std::array<Share, kMost> shares_;
  unsigned workers_ = 1;
  uint32_t tasks_ = 0;
};

}  // namespace smepilot

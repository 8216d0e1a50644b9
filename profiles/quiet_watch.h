// Whether a machine is ours at a moment: a short reference kernel runs on all cores around what is measured. Where it
// takes much longer than it lately did, something else has a part of them (another program, a neighbour of a virtual
// machine), and what was measured beside it says less about the kernels than about that: it is measured again, as long
// as patience lasts. The reference and the clock come from the caller, so that a test needs no machine.
#pragma once
#include <cstddef>
#include <functional>
#include <vector>

namespace smepilot {

struct QuietSource {
  std::function<double()> reference_ns;  // that the reference takes now, on all cores at once
  std::function<double()> now_s;         // since some moment
};

struct QuietRules {
  // By how much the reference may take longer than where it is undisturbed. It differs from itself by a fifth, by what
  // ran before it; where another thread has one of the cores it takes twice as long and more.
  double tolerance = 0.35;
  // Undisturbed: what one in ten took lately. So a machine that stays slower is what it is, and no longer disturbed,
  // after window_s.
  double percentile = 10, window_s = 10;
  // Time that may go into waiting and measuring again: so many seconds, and a share of all that has passed.
  double patience_s = 0.5, patience_share = 0.25;
};

class QuietWatch {
 public:
  explicit QuietWatch(QuietSource source, const QuietRules& rules = {});

  // What `once` returns in a moment that is quiet before and after it; when patience is spent, in any.
  double measure(const std::function<double()>& once);

  // Of all that measure() returned: how many there were, and in how many moments that were not quiet.
  size_t measured() const noexcept { return measured_; }
  size_t disturbed() const noexcept { return disturbed_; }
  size_t repeated() const noexcept { return repeated_; }  // how many were thrown away

 private:
  bool look();  // runs the reference: quiet?
  bool patient() const;

  QuietSource source_;
  QuietRules rules_;
  double begin_s_ = 0, looked_s_ = 0, remembered_s_ = 0, spent_s_ = 0;
  bool quiet_ = true;
  std::vector<double> recent_;  // a ring, filled in window_s
  size_t next_ = 0;
  double level_ = 0;
  size_t measured_ = 0, disturbed_ = 0, repeated_ = 0;
};

}  // namespace smepilot

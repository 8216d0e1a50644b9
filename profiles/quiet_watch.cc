#include "profiles/quiet_watch.h"

#include <utility>

#include "profiles/statistics.h"

namespace smepilot {
namespace {

constexpr size_t kRecent = 400;     // looks that the level is of
constexpr size_t kFirstLooks = 24;  // that it is of in the beginning
constexpr double kFresh_s = 1e-3;   // so long a look says what the moment is like

}  // namespace

QuietWatch::QuietWatch(QuietSource source, const QuietRules& rules) : source_(std::move(source)), rules_(rules) {
  begin_s_ = looked_s_ = remembered_s_ = source_.now_s();
}

bool QuietWatch::look() {
  double ns = 0;
  do {
    ns = source_.reference_ns();
    looked_s_ = source_.now_s();
    if (recent_.size() >= kFirstLooks && looked_s_ - remembered_s_ < rules_.window_s / kRecent) break;
    remembered_s_ = looked_s_;
    if (recent_.size() < kRecent)
      recent_.push_back(ns);
    else
      recent_[next_] = ns;
    next_ = (next_ + 1) % kRecent;
    level_ = percentile(recent_, rules_.percentile);
  } while (recent_.size() < kFirstLooks);
  quiet_ = ns <= level_ * (1 + rules_.tolerance);
  return quiet_;
}

bool QuietWatch::patient() const {
  return spent_s_ < rules_.patience_s + rules_.patience_share * (source_.now_s() - begin_s_);
}

double QuietWatch::measure(const std::function<double()>& once) {
  ++measured_;
  for (;;) {
    if (recent_.empty() || source_.now_s() - looked_s_ > kFresh_s) look();
    double start = source_.now_s();
    while (!quiet_ && patient()) {
      look();
      spent_s_ += source_.now_s() - start;
      start = source_.now_s();
    }
    const bool quiet = quiet_;
    const double result = once();
    if (look() && quiet) return result;
    if (!patient()) {
      ++disturbed_;
      return result;
    }
    spent_s_ += source_.now_s() - start;
    ++repeated_;
  }
}

}  // namespace smepilot

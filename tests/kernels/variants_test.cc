// Every variant of the build against the oracle, one test each. A variant that this machine cannot run is skipped and
// named in a list at the end; a run in which no variant ran at all fails.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/checks/checks.h"

namespace smepilot::test {
namespace {

struct Tally {
  size_t ran = 0;
  std::vector<std::string> skipped;
};
Tally& tally() {
  static Tally t;
  return t;
}

// Reports what was not run, after the last test: skipped is not passed.
class Report : public testing::Environment {
 public:
  void TearDown() override {
    for (const std::string& line : tally().skipped) fmt::print("not run here: {}\n", line);
    for (const char* isa : unbuilt_isas()) fmt::print("not built by this compiler: {}\n", isa);
    fmt::print("{} variants ran, {} were skipped\n", tally().ran, tally().skipped.size());
    if (tally().ran == 0) ADD_FAILURE() << "no variant ran: nothing has been tested";
  }
};
const testing::Environment* const kReport = testing::AddGlobalTestEnvironment(new Report);

std::string test_name(const testing::TestParamInfo<const KernelVariant*>& info) {
  std::string name = info.param->id;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

class Variant : public testing::TestWithParam<const KernelVariant*> {};

TEST_P(Variant, AgreesWithTheOracle) {
  const KernelVariant& v = *GetParam();
  const Result<IsaSet> isa = usable_isa();
  ASSERT_TRUE(isa.ok()) << isa.message();
  if ((v.isa & ~*isa) != 0) {
    tally().skipped.push_back(fmt::format("{}: needs {}", v.id, isa_to_string(v.isa & ~*isa)));
    GTEST_SKIP() << tally().skipped.back();
  }
  Comparator comparator;
  check_variant(v, comparator);
  EXPECT_TRUE(comparator.ok()) << comparator.message();
  EXPECT_GT(comparator.count(), 0u);
  RecordProperty("comparisons", std::to_string(comparator.count()));
  RecordProperty("worst_error_over_tolerance", fmt::format("{:.3f}", comparator.worst()));
  ++tally().ran;
}

INSTANTIATE_TEST_SUITE_P(All, Variant, testing::ValuesIn(all_variants().begin(), all_variants().end()), test_name);

}  // namespace
}  // namespace smepilot::test

// Every variant of the build against the oracle, one test each. A variant that this machine cannot run is skipped and
// named in a list at the end; a run in which no variant ran at all fails.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"
#include "tests/kernels/checks/checks.h"

namespace smepilot::test {
namespace {

struct Tally {
  size_t ran = 0;
  std::map<std::string, size_t> ran_of;  // by ISA step
  std::vector<std::string> skipped;
  std::map<std::string, size_t> skipped_of;
};
Tally& tally() {
  static Tally t;
  return t;
}

// The ISA step of a variant: the last field of its id but one.
std::string step_of(const KernelVariant& v) {
  const std::string id = v.id;
  const size_t end = id.rfind('.'), begin = id.rfind('.', end - 1) + 1;
  return id.substr(begin, end - begin);
}

std::string counts(const std::map<std::string, size_t>& of) {
  std::string text;
  for (const auto& [step, count] : of) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", step, count);
  return text.empty() ? "none" : text;
}

// Reports what was not run, after the last test: skipped is not passed.
class Report : public testing::Environment {
 public:
  void TearDown() override {
    for (const std::string& line : tally().skipped) fmt::print("not run here: {}\n", line);
    for (const char* isa : unbuilt_isas()) fmt::print("not built by this compiler: {}\n", isa);
    fmt::print("{} variants ran ({}), {} were skipped ({})", tally().ran, counts(tally().ran_of),
               tally().skipped.size(), counts(tally().skipped_of));
    if (Sample::every() != 1) fmt::print("; cases of matmul and attention: one of {}", Sample::every());
    fmt::print("\n");
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
    ++tally().skipped_of[step_of(v)];
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
  ++tally().ran_of[step_of(v)];
}

INSTANTIATE_TEST_SUITE_P(All, Variant, testing::ValuesIn(all_variants().begin(), all_variants().end()), test_name);

}  // namespace
}  // namespace smepilot::test

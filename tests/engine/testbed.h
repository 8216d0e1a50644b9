// Runs all tests of a program on the test bed where SMEPILOT_TEST_ON says "testbed". Include it once in the program.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "kernels/registry/registry.h"

namespace smepilot::test {

class OnTestbed : public testing::Environment {
 public:
  void SetUp() override {
    const char* const where = std::getenv("SMEPILOT_TEST_ON");
    if (where == nullptr || std::string_view(where) != "testbed") return;
    if (const Status enabled = enable_testbed(); !enabled.ok()) GTEST_SKIP() << "NOT TESTED: " << enabled.message();
  }
};
inline testing::Environment* const kOnTestbed = testing::AddGlobalTestEnvironment(new OnTestbed);

}  // namespace smepilot::test

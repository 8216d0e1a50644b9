#include "kernels/probe/probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "kernels/base/aligned_buffer.h"
#include "kernels/isa/isa_detect.h"

namespace smepilot {
namespace {

std::vector<const Probe*> usable(ProbeKind kind) {
  std::vector<const Probe*> out;
  for (const Probe* p : all_probes())
    if (p->kind == kind && (p->isa & ~detect_isa()) == 0) out.push_back(p);
  return out;
}

TEST(Probe, DescriptorsAreWellFormed) {
  std::set<std::string> ids;
  for (const Probe* p : all_probes()) {
    EXPECT_TRUE(ids.insert(p->id).second) << p->id;
    ASSERT_NE(p->run, nullptr) << p->id;
    ASSERT_LT(p->kind, ProbeKind::kCount);
    EXPECT_EQ(p->work > 0, p->kind <= ProbeKind::kFlopsInt8) << p->id;
    bool one_step = false;
    for (const IsaName& n : kIsaNames) one_step = one_step || n.isa == p->isa;
    EXPECT_TRUE(one_step) << p->id << " must name exactly one ISA step";
  }
  for (const ProbeKind kind : {ProbeKind::kFlopsF32, ProbeKind::kFlopsInt8, ProbeKind::kRead, ProbeKind::kWrite,
                               ProbeKind::kCopy, ProbeKind::kExp})
    EXPECT_FALSE(usable(kind).empty()) << kProbeKindNames[static_cast<size_t>(kind)];
}

// The result of an int8 probe counts its multiply-adds: a probe that does less work than it declares is caught.
TEST(Probe, Int8ProbesDoTheWorkTheyDeclare) {
  for (const Probe* p : usable(ProbeKind::kFlopsInt8)) {
    const auto result = [&](uint64_t repeat) {
      const ProbeArgs args = {nullptr, nullptr, 0, repeat, false};
      return static_cast<uint32_t>(p->run(&args));
    };
    const uint32_t per_repeat = result(3) - result(2);
    const int64_t macs = static_cast<int64_t>(p->work / 2);
    int64_t expected = 0;
    const std::string isa = std::string(p->id).substr(5);
    if (isa == "amxint8") {
      // Two of the 1024 results are returned; each sums s8 (2 -2 3 1) times the same.
      expected = 2 * (macs / (1024 * 4)) * (2 * 2 + 2 * 2 + 3 * 3 + 1);
    } else if (isa.starts_with("avx")) {
      // Two lanes are returned; each sums u8 (3 5 7 11) times s8 (-5 5 -3 7).
      const int64_t lanes = isa == "avx2" ? 8 : 16;
      expected = 2 * (macs / (lanes * 4)) * (-15 + 25 - 21 + 77);
    } else if (isa == "portable") {
      for (int64_t i = 0; i < macs; ++i) expected += (i % 251) * (i % 241 - 120);
    } else {
      expected = macs * 5 * -3;  // Arm: all lanes are summed
    }
    EXPECT_EQ(per_repeat, static_cast<uint32_t>(expected)) << p->id;
  }
}

TEST(Probe, FloatProbesRun) {
  for (const ProbeKind kind : {ProbeKind::kFlopsF32, ProbeKind::kFlopsF16, ProbeKind::kFlopsBf16}) {
    for (const Probe* p : usable(kind)) {
      const ProbeArgs args = {nullptr, nullptr, 0, 2, false};
      EXPECT_EQ(p->run(&args), p->run(&args)) << p->id;
    }
  }
}

// SME: all results are summed, each multiply-add is 0.5 * 0.5, whatever the vector length.
TEST(Probe, SmeFloatProbesDoTheWorkTheyDeclare) {
  for (const ProbeKind kind : {ProbeKind::kFlopsF32, ProbeKind::kFlopsF16, ProbeKind::kFlopsBf16}) {
    for (const Probe* p : usable(kind)) {
      if (p->isa != kIsaSme) continue;
      const ProbeArgs args = {nullptr, nullptr, 0, 2, false};
      const float expected = static_cast<float>(2 * p->work / 2 * 0.25);
      uint32_t bits = 0;
      std::memcpy(&bits, &expected, sizeof bits);
      EXPECT_EQ(p->run(&args), bits) << p->id;
    }
  }
}

// bf16 on tiles: 0.5 * 0.5 + 0.25 * 0.25, 16 pairs a multiply, exactly representable.
TEST(Probe, TileBf16Result) {
  for (const Probe* p : usable(ProbeKind::kFlopsBf16)) {
    if (p->isa != kIsaAmxBf16) continue;
    const ProbeArgs args = {nullptr, nullptr, 0, 2, false};
    const float expected = static_cast<float>(2 * (p->work / 2) / (1024 * 2) * (0.25 + 0.0625));
    uint32_t bits = 0;
    std::memcpy(&bits, &expected, sizeof bits);
    EXPECT_EQ(p->run(&args), uint64_t{bits} * 2) << "two results, their bits added";
  }
}

constexpr size_t kBytes = 6 * 1024;

TEST(Probe, ReadTouchesEveryWord) {
  AlignedBuffer buffer = AlignedBuffer::allocate(kBytes).value();
  for (const Probe* p : usable(ProbeKind::kRead)) {
    uint64_t expected = 0;
    for (size_t i = 0; i < kBytes / 8; ++i) expected ^= buffer.as<uint64_t>()[i] = i * 0x9e3779b97f4a7c15ull + 1;
    const ProbeArgs once = {nullptr, buffer.data(), kBytes, 1, false},
                    twice = {nullptr, buffer.data(), kBytes, 2, false};
    EXPECT_EQ(p->run(&once), expected) << p->id;
    EXPECT_EQ(p->run(&twice), 0u) << p->id << ": the second pass must be executed too";
    for (const size_t word : {size_t{0}, size_t{101}, kBytes / 8 - 1}) {
      buffer.as<uint64_t>()[word] ^= 0x55;
      EXPECT_EQ(p->run(&once), expected ^ 0x55) << p->id << " word " << word;
      buffer.as<uint64_t>()[word] ^= 0x55;
    }
  }
}

TEST(Probe, WriteFillsExactlyItsBuffer) {
  AlignedBuffer buffer = AlignedBuffer::allocate(kBytes + 64).value();
  for (const Probe* p : usable(ProbeKind::kWrite)) {
    for (const bool stream : {false, true}) {
      std::memset(buffer.data(), 0x5a, buffer.size());
      const ProbeArgs args = {buffer.data(), nullptr, kBytes, 1, stream};
      p->run(&args);
      size_t wrong = 0;
      for (size_t i = 0; i < kBytes; ++i) wrong += buffer.data()[i] != std::byte{0} ? 1 : 0;
      EXPECT_EQ(wrong, 0u) << p->id << " stream " << stream;
      for (size_t i = kBytes; i < buffer.size(); ++i) ASSERT_EQ(buffer.data()[i], std::byte{0x5a}) << p->id;
    }
  }
}

TEST(Probe, CopyCopies) {
  AlignedBuffer from = AlignedBuffer::allocate(kBytes).value(), to = AlignedBuffer::allocate(kBytes + 64).value();
  for (size_t i = 0; i < kBytes; ++i) from.data()[i] = static_cast<std::byte>(i * 7 + i / 256);
  for (const Probe* p : usable(ProbeKind::kCopy)) {
    for (const bool stream : {false, true}) {
      std::memset(to.data(), 0x5a, to.size());
      const ProbeArgs args = {to.data(), from.data(), kBytes, 1, stream};
      p->run(&args);
      EXPECT_EQ(std::memcmp(from.data(), to.data(), kBytes), 0) << p->id << " stream " << stream;
      EXPECT_EQ(to.data()[kBytes], std::byte{0x5a}) << p->id;
    }
  }
}

TEST(Probe, ExpIsExp) {
  AlignedBuffer x = AlignedBuffer::allocate(kBytes).value(), y = AlignedBuffer::allocate(kBytes).value();
  constexpr size_t kCount = kBytes / sizeof(float);
  for (size_t i = 0; i < kCount; ++i) x.as<float>()[i] = -20.0f + 40.0f * static_cast<float>(i) / kCount;
  for (const Probe* p : usable(ProbeKind::kExp)) {
    const ProbeArgs args = {y.data(), x.data(), kBytes, 1, false};
    p->run(&args);
    for (size_t i = 0; i < kCount; ++i) {
      const double expected = std::exp(static_cast<double>(x.as<float>()[i]));
      ASSERT_NEAR(y.as<float>()[i] / expected, 1, 1e-6) << p->id << " at " << x.as<float>()[i];
    }
  }
}

}  // namespace
}  // namespace smepilot

// The foundation of the kernels: registry and its selection, ISA names and SMEPILOT_FORCE_ISA, buffers, the operating
// system.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "kernels/base/aligned_buffer.h"
#include "kernels/base/os.h"
#include "kernels/base/text.h"
#include "kernels/driver/operators.h"
#include "kernels/isa/isa_detect.h"
#include "kernels/registry/registry.h"

namespace smepilot {
namespace {

// Sets SMEPILOT_FORCE_ISA for a scope.
class ForceIsa {
 public:
  explicit ForceIsa(const char* value) {
    if (const char* old = std::getenv(kName)) old_ = old;
    value == nullptr ? unsetenv(kName) : setenv(kName, value, 1);
  }
  ~ForceIsa() { old_.empty() ? unsetenv(kName) : setenv(kName, old_.c_str(), 1); }

 private:
  static constexpr const char* kName = "SMEPILOT_FORCE_ISA";
  std::string old_;
};

TEST(ForcedIsa, PortableTakesEffectOnEverySelection) {
  const ForceIsa force("portable");
  const Result<IsaSet> isa = usable_isa();
  ASSERT_TRUE(isa.ok()) << isa.message();
  EXPECT_EQ(*isa, IsaSet{kIsaPortable});
  size_t usable = 0, refused = 0;
  for (const KernelVariant* of : all_variants()) {
    const Selection s = select_variants({of->op, of->rhs, 1, 256, 256, 256, 1}, *isa);
    ASSERT_FALSE(s.usable.empty()) << of->id << ": no portable variant does the same";
    for (const KernelVariant* v : s.usable) EXPECT_EQ(v->isa, IsaSet{kIsaPortable}) << v->id;
    for (const Refusal& r : s.refused) {
      EXPECT_NE(r.variant->isa, IsaSet{kIsaPortable}) << r.variant->id << ": " << r.reason;
      EXPECT_NE(r.reason.find("needs "), std::string::npos) << r.reason;
      ++refused;
    }
    usable += s.usable.size();
  }
  EXPECT_GT(usable, 0u);
  const Result<ElementwiseConfig> config = default_elementwise(1);
  ASSERT_TRUE(config.ok()) << config.message();
  for (const KernelVariant* v : {config->norm, config->rope, config->swiglu, config->softmax})
    EXPECT_EQ(v->isa, IsaSet{kIsaPortable}) << v->id;
  for (const KernelVariant* v : config->packers) {
    EXPECT_TRUE(v == nullptr || v->isa == IsaSet{kIsaPortable}) << v->id;
  }

  // It has an effect only where there is something to restrict: then the unrestricted choice differs.
  const ForceIsa unforced(nullptr);
  const bool has_more = std::any_of(all_variants().begin(), all_variants().end(), [](const KernelVariant* v) {
    return v->isa != kIsaPortable && (v->isa & ~detect_isa()) == 0;
  });
  if (!has_more) GTEST_SKIP() << "this machine runs portable variants only; " << refused << " refused";
  ASSERT_TRUE(usable_isa().ok());
  EXPECT_NE(*usable_isa(), IsaSet{kIsaPortable});
  EXPECT_NE(variant_set_hash(*usable_isa()), variant_set_hash(kIsaPortable));
}

TEST(ForcedIsa, RefusesUnknownNamesAndMissingSteps) {
  {
    const ForceIsa force("avx9");
    const Result<IsaSet> isa = usable_isa();
    ASSERT_FALSE(isa.ok());
    EXPECT_NE(isa.message().find("SMEPILOT_FORCE_ISA"), std::string::npos) << isa.message();
    EXPECT_NE(isa.message().find("'avx9'"), std::string::npos) << isa.message();
    EXPECT_FALSE(default_elementwise(1).ok());
  }
  for (const IsaName& n : kIsaNames) {
    const ForceIsa force(n.name);
    const bool here = ((n.isa | n.implies) & ~detect_isa()) == 0;
    EXPECT_EQ(usable_isa().ok(), here) << n.name;
    if (here) {
      EXPECT_EQ(*usable_isa(), n.isa | n.implies) << n.name;
    } else {
      EXPECT_NE(usable_isa().message().find("lacks "), std::string::npos) << usable_isa().message();
    }
  }
}

TEST(IsaNames, RoundTrip) {
  for (const IsaName& n : kIsaNames) {
    const Result<IsaSet> set = isa_from_string(n.name);
    ASSERT_TRUE(set.ok()) << set.message();
    EXPECT_EQ(*set, n.isa | n.implies);
    const Result<IsaSet> again = isa_from_string(isa_to_string(*set));
    ASSERT_TRUE(again.ok()) << again.message();
    EXPECT_EQ(*again, *set);
    EXPECT_EQ(n.isa & (n.isa - 1), 0u) << n.name << " is one step, one bit";
  }
  EXPECT_EQ(*isa_from_string("avx2,dotprod"), kIsaAvx2 | kIsaNeon | kIsaDotprod);
  for (const char* bad : {"", ",", "avx2,", "AVX2", "avx2 ", "+"}) EXPECT_FALSE(isa_from_string(bad).ok()) << bad;
  ASSERT_TRUE(isa_from_string(isa_to_string(detect_isa())).ok());
  EXPECT_EQ(*isa_from_string(isa_to_string(detect_isa())), detect_isa());
}

TEST(Registry, DescriptorsAreUniqueCompleteAndFound) {
  std::set<std::string> ids;
  for (const KernelVariant* v : all_variants()) {
    EXPECT_TRUE(ids.insert(v->id).second) << "twice: " << v->id;
    EXPECT_EQ(find_variant(v->id), v);
    EXPECT_NE(v->matmul, nullptr) << v->id;
    EXPECT_GT(v->tile.mr, 0u) << v->id;
    EXPECT_GT(v->tile.kr, 0u) << v->id;
    // The id says what the descriptor says.
    const std::string id = v->id;
    const std::string types = std::string(kOpNames[static_cast<size_t>(v->op)]) + "." + traits(v->dst).name + "." +
                              traits(v->lhs).name + "." + traits(v->rhs).name + ".";
    EXPECT_EQ(id.substr(0, types.size()), types);
    const bool named = std::any_of(std::begin(kIsaNames), std::end(kIsaNames), [&](const IsaName& n) {
      // at least the step itself, and nothing beyond it
      return (v->isa & n.isa) == n.isa && (v->isa & ~(n.isa | n.implies)) == 0 &&
             id.find(std::string(".") + n.name + ".") != std::string::npos;
    });
    EXPECT_TRUE(named) << id << " needs " << isa_to_string(v->isa);
    if (v->op == OpKind::kMatmul && is_q8(v->lhs_layout)) {
      EXPECT_EQ(v->tile.mr % kPanel, 0u) << v->id;
    }
  }
  EXPECT_EQ(find_variant("matmul"), nullptr);
}

TEST(Registry, SelectionRefusesWithReasons) {
  const OperatorShape odd{OpKind::kMatmul, DType::kQ4_0, 1, 16, 33, 0, 0};
  const Selection s = select_variants(odd, kIsaPortable);
  EXPECT_TRUE(s.usable.empty());
  ASSERT_FALSE(s.refused.empty());
  bool explained = false;
  for (const Refusal& r : s.refused) explained |= r.reason == "k=33 is not a multiple of 32";
  EXPECT_TRUE(explained);
}

TEST(Registry, HashDependsOnTheSet) {
  const std::string portable = variant_set_hash(kIsaPortable);
  EXPECT_EQ(portable.size(), 16u);
  EXPECT_EQ(portable, variant_set_hash(kIsaPortable));
  IsaSet all = 0;
  for (const KernelVariant* v : all_variants()) all |= v->isa;
  if (all == 0) GTEST_SKIP() << "this build has portable variants only";
  EXPECT_NE(portable, variant_set_hash(all));
}

TEST(AlignedBuffer, IsAlignedZeroedAndMovable) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{64}, size_t{1000}, size_t{5} << 20}) {
    Result<AlignedBuffer> made = AlignedBuffer::allocate(bytes);
    ASSERT_TRUE(made.ok()) << made.message();
    AlignedBuffer buffer = std::move(made).value();
    EXPECT_EQ(buffer.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % AlignedBuffer::kAlignment, 0u);
    EXPECT_TRUE(std::all_of(buffer.data(), buffer.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    if (bytes == 0) continue;
    std::byte* const data = buffer.data();
    data[bytes - 1] = std::byte{1};
    AlignedBuffer moved(std::move(buffer));
    EXPECT_EQ(moved.data(), data);
    AlignedBuffer assigned;
    assigned = std::move(moved);
    EXPECT_EQ(assigned.data(), data);
    EXPECT_EQ(assigned.size(), bytes);
  }
}

TEST(AlignedBuffer, FailsPolitely) {
  for (size_t bytes : {SIZE_MAX, SIZE_MAX - 100}) {
    const Result<AlignedBuffer> made = AlignedBuffer::allocate(bytes);
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.message().find(std::to_string(bytes)), std::string::npos) << made.message();
  }
}

TEST(ParseDouble, TakesWhatIsWhollyANumber) {
  EXPECT_EQ(parse_double("0"), 0.0);
  EXPECT_EQ(parse_double("-1.5e3"), -1500.0);
  EXPECT_EQ(parse_double("0.1"), 0.1);
  EXPECT_EQ(parse_double(".5"), 0.5);
  EXPECT_EQ(parse_double("2E-3"), 2e-3);
  const std::string longer = "1.25x";
  EXPECT_EQ(parse_double(std::string_view(longer).substr(0, 4)), 1.25);  // not ended by a NUL
  for (const char* no :
       {"", "-", "+1", " 1", "1 ", "--1", "-+1", "0x10", "1.2.3", "1e", "e5", ".", "inf", "nan", "1e999"})
    EXPECT_EQ(parse_double(no), std::nullopt) << no;
}

TEST(Os, FilesGetTheirLengthAndKnowTheirTimes) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  ASSERT_NE(file, nullptr);
  const int fd = fileno(file.get());
  ASSERT_EQ(reserve_file(fd, 12345), 0);
  struct stat info = {};
  ASSERT_EQ(fstat(fd, &info), 0);
  EXPECT_EQ(info.st_size, 12345);
  const int64_t now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  constexpr int64_t kHour = 3'600'000'000'000;
  EXPECT_NEAR(static_cast<double>(modified_ns(info)), static_cast<double>(now), kHour);
  EXPECT_NEAR(static_cast<double>(changed_ns(info)), static_cast<double>(now), kHour);
  EXPECT_NE(reserve_file(-1, 1), 0);
}

TEST(Os, TheProgramKnowsItsPath) {
  const std::filesystem::path path = program_path();
  ASSERT_FALSE(path.empty());
  EXPECT_NE(path.filename().string().find("kernel_base_test"), std::string::npos) << path;
}

TEST(Os, PagesOfEitherSizeHoldTheirContents) {
  Result<AlignedBuffer> buffer = AlignedBuffer::allocate(size_t{4} << 20);
  ASSERT_TRUE(buffer.ok());
  buffer->data()[12345] = std::byte{7};
  for (const PageSize size : {PageSize::kSmall, PageSize::kHuge}) {
    prefer_pages(buffer->data(), buffer->size(), size);
    EXPECT_EQ(buffer->data()[12345], std::byte{7});
  }
}

TEST(Os, UnknownNamesHaveNoValue) {
  EXPECT_EQ(sysctl_number("hw.no_such_name"), std::nullopt);
  EXPECT_EQ(sysctl_text("hw.no_such_name"), "");
}

}  // namespace
}  // namespace smepilot

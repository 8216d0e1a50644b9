// A GGUF model file (versions 2 and 3, little-endian), mapped into memory and checked completely before anything of it
// is used: no count, length, type or offset of the file is trusted. Format: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/abi/dtype.h"
#include "kernels/base/status.h"

namespace smepilot {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
  kCount
};

// Text of the file for a message: at most 96 bytes, whatever is not printable ASCII escaped.
std::string printable(std::string_view text);

// A metadata value, still in the file's bytes.
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // of an array
  uint64_t count = 1;                // elements of an array, bytes of a string
  std::span<const std::byte> bytes;  // the value, the characters of a string, or the elements of an array

  std::string type_name() const;  // "u32", "array of string"
};

struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  uint32_t dims = 0;                            // 1..4
  std::array<uint64_t, 4> size = {1, 1, 1, 1};  // size[0] is the contiguous one (K), size[1] the rows (N)
  uint64_t elements = 0;
  uint64_t offset = 0;               // from the start of the file
  std::span<const std::byte> bytes;  // exactly file_bytes(dtype, elements)

  std::string shape_name() const;  // "[2048, 512]"
};

// Which file it was, and in which state, when it was opened. Whatever writes to a file moves its ctime, which no
// program can set; so a file with the same stamp holds the same bytes, unless it was written to within one tick of the
// clock that stamps it.
struct FileStamp {
  uint64_t device = 0, inode = 0, bytes = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;  // 0: not a file on disk

  bool operator==(const FileStamp&) const = default;
};

class GgufFile {
 public:
  GgufFile() = default;
  GgufFile(GgufFile&& other) noexcept;
  GgufFile& operator=(GgufFile&& other) noexcept;
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;
  ~GgufFile();

  // Maps and checks the file. Shrinking it while it is mapped kills the process with SIGBUS, as with any mapping.
  static Result<GgufFile> open(const std::string& path);
  // The same for bytes in memory; `name` stands for the path in messages.
  static Result<GgufFile> from_memory(std::vector<std::byte> bytes, std::string name);

  const std::string& path() const noexcept { return path_; }
  uint32_t version() const noexcept { return version_; }
  uint64_t alignment() const noexcept { return alignment_; }
  size_t file_bytes() const noexcept { return bytes_.size(); }
  const FileStamp& stamp() const noexcept { return stamp_; }
  // What stands before the data of the first tensor: metadata and tensor table.
  std::span<const std::byte> head() const noexcept { return bytes_.first(head_bytes_); }

  // These bytes are not needed for now: their pages may be dropped, and come back from the file when they are read.
  void release(std::span<const std::byte> bytes) const noexcept;

  // Metadata. A getter fails, naming the key and the type found, if the key is missing, of another type, or does not
  // fit. Integers may be stored in any integer type. The `_or` forms return the fallback if the key is missing.
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const GgufValue* find(std::string_view key) const;
  Result<uint32_t> get_u32(std::string_view key) const;
  Result<uint32_t> get_u32_or(std::string_view key, uint32_t fallback) const;
  Result<float> get_f32(std::string_view key) const;
  Result<float> get_f32_or(std::string_view key, float fallback) const;
  Result<bool> get_bool_or(std::string_view key, bool fallback) const;
  Result<std::string_view> get_string(std::string_view key) const;
  Result<std::string_view> get_string_or(std::string_view key, std::string_view fallback) const;
  Result<std::vector<std::string_view>> get_strings(std::string_view key) const;
  Result<std::vector<float>> get_f32s(std::string_view key) const;
  Result<std::vector<int32_t>> get_i32s(std::string_view key) const;
  const std::vector<std::string_view>& keys() const noexcept { return keys_; }

  const std::vector<GgufTensor>& tensors() const noexcept { return tensors_; }
  const GgufTensor* tensor(std::string_view name) const;

 private:
  friend class GgufParser;

  Status missing(std::string_view key, std::string_view expected) const;
  Status wrong_type(std::string_view key, const GgufValue& value, std::string_view expected) const;

  std::string path_;
  std::span<const std::byte> bytes_;  // the whole file: mapping_ or memory_
  void* mapping_ = nullptr;
  std::vector<std::byte> memory_;
  FileStamp stamp_;
  size_t head_bytes_ = 0;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<std::string_view> keys_;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace smepilot

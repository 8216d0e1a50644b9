#include "profiles/gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "kernels/base/os.h"

namespace smepilot {
namespace {

// Limits of the format description, except the nesting of arrays, which it leaves open.
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = 1u << 20;
constexpr int kMaxNesting = 8;
// The least that an entry can take: a string length, a one-byte key and a type with one byte of value; a string
// length, a one-byte name, a dimension count, one dimension, a type and an offset.
constexpr uint64_t kMinValueBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

FileStamp stamp_of(const struct stat& info) {
  return {static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino), static_cast<uint64_t>(info.st_size),
          modified_ns(info), changed_ns(info)};
}

struct TypeTraits {
  const char* name;
  uint32_t bytes;  // 0: of variable size
};
constexpr TypeTraits kTypes[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                                 {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 0}, {"array", 0},
                                 {"u64", 8}, {"i64", 8}, {"f64", 8}};
static_assert(std::size(kTypes) == static_cast<size_t>(GgufType::kCount));

const TypeTraits& type_traits(GgufType type) {
  return kTypes[static_cast<size_t>(type)];
}

// Names of the tensor types that GGUF has numbers for, supported here or not. Numbers: ggml.h, enum ggml_type.
constexpr const char* kTensorTypes[] = {"F32",
                                        "F16",
                                        "Q4_0",
                                        "Q4_1",
                                        "Q4_2 (removed)",
                                        "Q4_3 (removed)",
                                        "Q5_0",
                                        "Q5_1",
                                        "Q8_0",
                                        "Q8_1",
                                        "Q2_K",
                                        "Q3_K",
                                        "Q4_K",
                                        "Q5_K",
                                        "Q6_K",
                                        "Q8_K",
                                        "IQ2_XXS",
                                        "IQ2_XS",
                                        "IQ3_XXS",
                                        "IQ1_S",
                                        "IQ4_NL",
                                        "IQ3_S",
                                        "IQ2_S",
                                        "IQ4_XS",
                                        "I8",
                                        "I16",
                                        "I32",
                                        "I64",
                                        "F64",
                                        "IQ1_M",
                                        "BF16",
                                        "Q4_0_4_4",
                                        "Q4_0_4_8",
                                        "Q4_0_8_8",
                                        "TQ1_0",
                                        "TQ2_0",
                                        "IQ4_NL_4_4",
                                        "IQ4_NL_4_8",
                                        "IQ4_NL_8_8",
                                        "MXFP4",
                                        "NVFP4"};

std::optional<DType> dtype_of(uint32_t gguf_type) {
  for (size_t i = 0; i < static_cast<size_t>(DType::kCount); ++i) {
    if (kDTypeTraits[i].gguf_type >= 0 && static_cast<uint32_t>(kDTypeTraits[i].gguf_type) == gguf_type) {
      return static_cast<DType>(i);
    }
  }
  return std::nullopt;
}

std::string supported_types() {
  std::string list;
  for (const DTypeTraits& t : kDTypeTraits) {
    if (t.gguf_type < 0) continue;
    if (!list.empty()) list += ", ";
    list += kTensorTypes[t.gguf_type];
  }
  return list;
}

template <typename T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

// Any integer type as (negative, magnitude); nothing for the other types.
std::optional<std::pair<bool, uint64_t>> integer_of(GgufType type, const std::byte* p) {
  const auto from_signed = [](int64_t v) {
    return std::pair(v < 0, v < 0 ? uint64_t{0} - static_cast<uint64_t>(v) : static_cast<uint64_t>(v));
  };
  switch (type) {
    case GgufType::kU8: return std::pair(false, uint64_t{load<uint8_t>(p)});
    case GgufType::kU16: return std::pair(false, uint64_t{load<uint16_t>(p)});
    case GgufType::kU32: return std::pair(false, uint64_t{load<uint32_t>(p)});
    case GgufType::kU64: return std::pair(false, load<uint64_t>(p));
    case GgufType::kI8: return from_signed(load<int8_t>(p));
    case GgufType::kI16: return from_signed(load<int16_t>(p));
    case GgufType::kI32: return from_signed(load<int32_t>(p));
    case GgufType::kI64: return from_signed(load<int64_t>(p));
    default: return std::nullopt;
  }
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kMax = 96;
  std::string out;
  for (const char c : text.substr(0, kMax)) {
    const auto u = static_cast<unsigned char>(c);
    if (u >= 0x20 && u < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", u);
    }
  }
  if (text.size() > kMax) out += "...";
  return out;
}

std::string GgufValue::type_name() const {
  if (type != GgufType::kArray) return type_traits(type).name;
  return fmt::format("array of {} {}", count, type_traits(element).name);
}

std::string GgufTensor::shape_name() const {
  std::string out = "[";
  for (uint32_t i = 0; i < dims; ++i) out += fmt::format("{}{}", i == 0 ? "" : ", ", size[i]);
  return out + "]";
}

// Reads the header front to back. Every read is checked against the end of the file, and says what it was reading.
class GgufParser {
 public:
  explicit GgufParser(GgufFile& file) : file_(file) {}

  Status parse() {
    SMEPILOT_TRY(read_header());
    for (uint64_t i = 0; i < value_count_; ++i) SMEPILOT_TRY(read_value(i));
    SMEPILOT_TRY(read_alignment());
    for (uint64_t i = 0; i < tensor_count_; ++i) SMEPILOT_TRY(read_tensor(i));
    return place_tensors();
  }

 private:
  uint64_t left() const { return file_.bytes_.size() - at_; }
  const std::byte* here() const { return file_.bytes_.data() + at_; }

  Status need(uint64_t bytes, std::string_view what) const {
    if (bytes <= left()) return {};
    return error("{}: truncated or damaged: {} at byte {} needs {} bytes, the file ({} bytes) has {} more", file_.path_,
                 what, at_, bytes, file_.bytes_.size(), left());
  }

  Status too_many(uint64_t count, GgufType type, std::string_view what) const {
    return error(
        "{}: truncated or damaged: {} at byte {} says that it has {} elements of type {}, but the file ({} "
        "bytes) has only {} bytes more",
        file_.path_, what, at_, count, type_traits(type).name, file_.bytes_.size(), left());
  }

  template <typename T>
  Status read(T& value, std::string_view what) {
    SMEPILOT_TRY(need(sizeof(T), what));
    value = load<T>(here());
    at_ += sizeof(T);
    return {};
  }

  Status read_string(std::string_view& value, uint64_t max_bytes, std::string_view what) {
    uint64_t size = 0;
    SMEPILOT_TRY(read(size, what));
    if (size > max_bytes) {
      return error("{}: {} at byte {} is {} bytes long, expected at most {}", file_.path_, what, at_, size, max_bytes);
    }
    SMEPILOT_TRY(need(size, what));
    value = {reinterpret_cast<const char*>(here()), static_cast<size_t>(size)};
    at_ += size;
    return {};
  }

  Status read_type(GgufType& type, std::string_view what) {
    uint32_t number = 0;
    SMEPILOT_TRY(read(number, what));
    if (number >= static_cast<uint32_t>(GgufType::kCount)) {
      return error("{}: {} has value type {}, expected 0 to {}", file_.path_, what, number,
                   static_cast<uint32_t>(GgufType::kCount) - 1);
    }
    type = static_cast<GgufType>(number);
    return {};
  }

  Status read_header() {
    const uint64_t size = file_.bytes_.size();
    if (size < 4) return error("{}: not a GGUF file: it has {} bytes, a header has 24", file_.path_, size);
    if (std::memcmp(here(), "GGUF", 4) != 0) {
      return error("{}: not a GGUF file: it begins with \"{}\", expected \"GGUF\"", file_.path_,
                   printable({reinterpret_cast<const char*>(here()), 4}));
    }
    at_ = 4;
    SMEPILOT_TRY(read(file_.version_, "the version"));
    // A version is small, so zero low half means that the bytes are the other way round.
    if (file_.version_ != 0 && (file_.version_ & 0xffff) == 0) {
      return error("{}: is a big-endian GGUF file; only little-endian ones are supported", file_.path_);
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      return error("{}: GGUF version {}, expected 2 or 3", file_.path_, file_.version_);
    }
    SMEPILOT_TRY(read(tensor_count_, "the tensor count"));
    SMEPILOT_TRY(read(value_count_, "the metadata count"));
    if (value_count_ > left() / kMinValueBytes) {
      return error("{}: says that it has {} metadata values, but its {} bytes hold at most {}", file_.path_,
                   value_count_, size, left() / kMinValueBytes);
    }
    if (tensor_count_ > left() / kMinTensorBytes) {
      return error("{}: says that it has {} tensors, but its {} bytes hold at most {}", file_.path_, tensor_count_,
                   size, left() / kMinTensorBytes);
    }
    return {};
  }

  // Steps over `count` elements of an array.
  Status skip_elements(GgufType type, uint64_t count, int depth, const std::string& what) {
    if (const uint32_t bytes = type_traits(type).bytes; bytes != 0) {
      if (count > left() / bytes) return too_many(count, type, what);
      if (type == GgufType::kBool) {
        for (uint64_t i = 0; i < count; ++i) {
          if (const auto b = load<uint8_t>(here() + i); b > 1) {
            return error("{}: {}[{}] is {}, expected a bool (0 or 1)", file_.path_, what, i, b);
          }
        }
      }
      at_ += count * bytes;
      return {};
    }
    if (count > left() / 8) return too_many(count, type, what);  // each takes eight bytes at least
    for (uint64_t i = 0; i < count; ++i) {
      if (type == GgufType::kString) {
        std::string_view text;
        SMEPILOT_TRY(read_string(text, std::numeric_limits<uint64_t>::max(), what));
      } else {
        GgufType inner{};
        uint64_t inner_count = 0;
        SMEPILOT_TRY(read_array_head(inner, inner_count, depth + 1, what));
        SMEPILOT_TRY(skip_elements(inner, inner_count, depth + 1, what));
      }
    }
    return {};
  }

  Status read_array_head(GgufType& element, uint64_t& count, int depth, const std::string& what) {
    if (depth > kMaxNesting) {
      return error("{}: {} nests arrays deeper than {}", file_.path_, what, kMaxNesting);
    }
    SMEPILOT_TRY(read_type(element, what));
    return read(count, what);
  }

  Status read_value(uint64_t index) {
    std::string_view key;
    SMEPILOT_TRY(
        read_string(key, kMaxKeyBytes, fmt::format("the key of metadata value {} of {}", index, value_count_)));
    if (key.empty()) return error("{}: metadata value {} has an empty key", file_.path_, index);
    const std::string what = fmt::format("metadata value \"{}\"", printable(key));
    GgufValue value;
    SMEPILOT_TRY(read_type(value.type, what));
    if (value.type == GgufType::kArray) SMEPILOT_TRY(read_array_head(value.element, value.count, 1, what));
    uint64_t begin = at_;
    if (value.type == GgufType::kString) {
      std::string_view text;
      SMEPILOT_TRY(read_string(text, std::numeric_limits<uint64_t>::max(), what));
      begin = at_ - text.size();
      value.count = text.size();
    } else if (value.type == GgufType::kArray) {
      SMEPILOT_TRY(skip_elements(value.element, value.count, 1, what));
    } else {
      SMEPILOT_TRY(skip_elements(value.type, 1, 1, what));
    }
    value.bytes = file_.bytes_.subspan(begin, at_ - begin);
    if (!file_.values_.emplace(key, value).second) {
      return error("{}: metadata key \"{}\" appears twice", file_.path_, printable(key));
    }
    file_.keys_.push_back(key);
    return {};
  }

  Status read_alignment() {
    SMEPILOT_ASSIGN(const uint32_t alignment, file_.get_u32_or("general.alignment", 32));
    if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
      return error("{}: general.alignment is {}, expected a power of two from 8 to {}", file_.path_, alignment,
                   kMaxAlignment);
    }
    file_.alignment_ = alignment;
    return {};
  }

  Status read_tensor(uint64_t index) {
    GgufTensor t;
    SMEPILOT_TRY(
        read_string(t.name, kMaxTensorNameBytes, fmt::format("the name of tensor {} of {}", index, tensor_count_)));
    if (t.name.empty()) return error("{}: tensor {} has an empty name", file_.path_, index);
    const std::string what = fmt::format("tensor \"{}\"", printable(t.name));
    SMEPILOT_TRY(read(t.dims, what));
    if (t.dims < 1 || t.dims > kMaxDims) {
      return error("{}: {} has {} dimensions, expected 1 to {}", file_.path_, what, t.dims, kMaxDims);
    }
    t.elements = 1;
    for (uint32_t i = 0; i < t.dims; ++i) {
      SMEPILOT_TRY(read(t.size[i], what));
      if (t.size[i] == 0) return error("{}: {} has size 0 in dimension {}", file_.path_, what, i);
      if (t.size[i] > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / t.elements) {
        return error("{}: {} has more than 2^63 elements", file_.path_, what);
      }
      t.elements *= t.size[i];
    }
    uint32_t type = 0;
    SMEPILOT_TRY(read(type, what));
    const std::optional<DType> dtype = dtype_of(type);
    if (!dtype) {
      if (type < std::size(kTensorTypes)) {
        return error("{}: {} has type {} ({}), which is not supported here; supported are {}", file_.path_, what, type,
                     kTensorTypes[type], supported_types());
      }
      return error("{}: {} has type number {}, which GGUF does not know; supported are {}", file_.path_, what, type,
                   supported_types());
    }
    t.dtype = *dtype;
    if (t.size[0] % traits(t.dtype).block_elems != 0) {
      return error("{}: {} has rows of {} elements, expected a multiple of {}, the block of {}", file_.path_, what,
                   t.size[0], traits(t.dtype).block_elems, kTensorTypes[type]);
    }
    SMEPILOT_TRY(read(t.offset, what));
    if (!file_.tensor_index_.emplace(t.name, file_.tensors_.size()).second) {
      return error("{}: {} appears twice", file_.path_, what);
    }
    file_.tensors_.push_back(t);
    return {};
  }

  // Turns offsets into spans of the file; only now is the start of the data known.
  Status place_tensors() {
    const uint64_t size = file_.bytes_.size();
    file_.head_bytes_ = at_;
    const uint64_t start =
        (at_ + file_.alignment_ - 1) / file_.alignment_ * file_.alignment_;  // at_ <= size: no overflow
    for (GgufTensor& t : file_.tensors_) {
      if (t.offset % file_.alignment_ != 0) {
        return error("{}: tensor \"{}\" is at offset {}, expected a multiple of the alignment {}", file_.path_,
                     printable(t.name), t.offset, file_.alignment_);
      }
      const uint64_t blocks = t.elements / traits(t.dtype).block_elems;
      const uint64_t room = start > size || t.offset > size - start ? 0 : size - start - t.offset;
      if (blocks > room / traits(t.dtype).block_bytes) {
        return error(
            "{}: truncated or damaged: the data of tensor \"{}\" ({} {}, at offset {} of the data that begins "
            "at byte {}) reaches beyond the end of the file ({} bytes)",
            file_.path_, printable(t.name), traits(t.dtype).name, t.shape_name(), t.offset, start, size);
      }
      t.offset += start;
      t.bytes = file_.bytes_.subspan(t.offset, blocks * traits(t.dtype).block_bytes);
    }
    std::vector<const GgufTensor*> order;
    for (const GgufTensor& t : file_.tensors_) order.push_back(&t);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes.size()) {
        return error("{}: the data of tensors \"{}\" and \"{}\" overlap at byte {}", file_.path_,
                     printable(order[i - 1]->name), printable(order[i]->name), order[i]->offset);
      }
    }
    return {};
  }

  GgufFile& file_;
  uint64_t at_ = 0;  // never beyond the end
  uint64_t tensor_count_ = 0, value_count_ = 0;
};

GgufFile::GgufFile(GgufFile&& other) noexcept {
  *this = std::move(other);
}

GgufFile& GgufFile::operator=(GgufFile&& other) noexcept {
  path_.swap(other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(mapping_, other.mapping_);
  memory_.swap(other.memory_);
  std::swap(stamp_, other.stamp_);
  std::swap(head_bytes_, other.head_bytes_);
  std::swap(version_, other.version_);
  std::swap(alignment_, other.alignment_);
  keys_.swap(other.keys_);
  values_.swap(other.values_);
  tensors_.swap(other.tensors_);
  tensor_index_.swap(other.tensor_index_);
  return *this;
}

GgufFile::~GgufFile() {
  if (mapping_ != nullptr) munmap(mapping_, bytes_.size());
}

Result<GgufFile> GgufFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not make us wait
  if (fd < 0) return error("{}: cannot be opened: {}", path, std::strerror(errno));
  GgufFile file;
  file.path_ = path;
  struct stat info = {};
  if (fstat(fd, &info) != 0) {
    const int code = errno;
    close(fd);
    return error("{}: cannot be examined: {}", path, std::strerror(code));
  }
  if (!S_ISREG(info.st_mode)) {
    close(fd);
    return error("{}: is not a regular file", path);
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size > 0) {
    void* mapping = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int code = errno;
    close(fd);
    if (mapping == MAP_FAILED) return error("{}: cannot be mapped: {}", path, std::strerror(code));
    // Once packed, only scattered vectors and embedding rows are read; a huge page for each would keep much more.
    prefer_pages(mapping, size, PageSize::kSmall);
    file.mapping_ = mapping;
    file.bytes_ = {static_cast<const std::byte*>(mapping), size};
    file.stamp_ = stamp_of(info);
  } else {
    close(fd);
  }
  SMEPILOT_TRY(GgufParser(file).parse());
  return file;
}

Result<GgufFile> GgufFile::from_memory(std::vector<std::byte> bytes, std::string name) {
  GgufFile file;
  file.path_ = std::move(name);
  file.memory_ = std::move(bytes);
  file.bytes_ = file.memory_;
  SMEPILOT_TRY(GgufParser(file).parse());
  return file;
}

void GgufFile::release(std::span<const std::byte> bytes) const noexcept {
  if (mapping_ == nullptr) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size()) / page * page;
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

const GgufTensor* GgufFile::tensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

Status GgufFile::missing(std::string_view key, std::string_view expected) const {
  return error("{}: metadata key \"{}\" is missing, expected {}", path_, printable(key), expected);
}

Status GgufFile::wrong_type(std::string_view key, const GgufValue& value, std::string_view expected) const {
  return error("{}: metadata key \"{}\" is {}, expected {}", path_, printable(key), value.type_name(), expected);
}

Result<uint32_t> GgufFile::get_u32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return missing(key, "u32");
  const auto number = integer_of(value->type, value->bytes.data());
  if (!number) return wrong_type(key, *value, "u32");
  if (number->second > std::numeric_limits<uint32_t>::max() || (number->first && number->second != 0)) {
    return error("{}: metadata key \"{}\" is {}{}, expected 0 to 4294967295", path_, printable(key),
                 number->first ? "-" : "", number->second);
  }
  return static_cast<uint32_t>(number->second);
}

Result<uint32_t> GgufFile::get_u32_or(std::string_view key, uint32_t fallback) const {
  return has(key) ? get_u32(key) : Result<uint32_t>(fallback);
}

Result<float> GgufFile::get_f32(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return missing(key, "f32");
  double number = 0;
  if (value->type == GgufType::kF32) {
    number = static_cast<double>(load<float>(value->bytes.data()));
  } else if (value->type == GgufType::kF64) {
    number = load<double>(value->bytes.data());
  } else {
    return wrong_type(key, *value, "f32");
  }
  if (!std::isfinite(number) || std::fabs(number) > static_cast<double>(std::numeric_limits<float>::max())) {
    return error("{}: metadata key \"{}\" is {}, expected a finite f32", path_, printable(key), number);
  }
  return static_cast<float>(number);
}

Result<float> GgufFile::get_f32_or(std::string_view key, float fallback) const {
  return has(key) ? get_f32(key) : Result<float>(fallback);
}

Result<bool> GgufFile::get_bool_or(std::string_view key, bool fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return fallback;
  if (value->type != GgufType::kBool) return wrong_type(key, *value, "bool");
  return value->bytes[0] != std::byte{0};
}

Result<std::string_view> GgufFile::get_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return missing(key, "string");
  if (value->type != GgufType::kString) return wrong_type(key, *value, "string");
  return std::string_view(reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size());
}

Result<std::string_view> GgufFile::get_string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? get_string(key) : Result<std::string_view>(fallback);
}

Result<std::vector<std::string_view>> GgufFile::get_strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return missing(key, "array of string");
  if (value->type != GgufType::kArray || value->element != GgufType::kString) {
    return wrong_type(key, *value, "array of string");
  }
  std::vector<std::string_view> out;
  out.reserve(value->count);  // the parser has seen that many strings in the file
  const std::byte* p = value->bytes.data();
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto size = static_cast<size_t>(load<uint64_t>(p));
    out.emplace_back(reinterpret_cast<const char*>(p + 8), size);
    p += 8 + size;
  }
  return out;
}

Result<std::vector<float>> GgufFile::get_f32s(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return missing(key, "array of f32");
  if (value->type != GgufType::kArray || value->element != GgufType::kF32) {
    return wrong_type(key, *value, "array of f32");
  }
  std::vector<float> out(value->count);
  if (!out.empty()) std::memcpy(out.data(), value->bytes.data(), value->bytes.size());
  return out;
}

Result<std::vector<int32_t>> GgufFile::get_i32s(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return missing(key, "array of i32");
  const uint32_t bytes = value->type == GgufType::kArray ? type_traits(value->element).bytes : 0;
  if (bytes == 0 || (value->count > 0 && !integer_of(value->element, value->bytes.data()))) {
    return wrong_type(key, *value, "array of i32");
  }
  std::vector<int32_t> out;
  out.reserve(value->count);  // the parser has seen that many elements in the file
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = *integer_of(value->element, value->bytes.data() + i * bytes);
    if (number.second > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
      return error("{}: metadata key \"{}\" holds {}{} at index {}, which does not fit an i32", path_, printable(key),
                   number.first ? "-" : "", number.second, i);
    }
    out.push_back(number.first ? -static_cast<int32_t>(number.second) : static_cast<int32_t>(number.second));
  }
  return out;
}

}  // namespace smepilot

#include "engine/weight_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <type_traits>

#include "kernels/base/checksum.h"
#include "kernels/base/os.h"

namespace smepilot {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = {'S', 'M', 'E', 'P', 'W', 'T', 'S', '\n'};
constexpr uint32_t kVersion = 1;  // of this file format; what lies in a panel is the fingerprint's business
constexpr uint64_t kHeaderBytes = 4096, kStampOffset = 2048;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
// A file written to in the same tick of the clock as its stamp says cannot be told from what it was before.
constexpr int64_t kStampSettlesNs = 2'000'000'000;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t matrices;
  uint64_t fingerprint, gguf_head, content, directory_checksum, file_bytes, data_offset;
  char model[1024];
  uint64_t checksum;  // of all before
};
struct Stamp {
  uint64_t device, inode, bytes;
  int64_t mtime_ns, ctime_ns;
  uint64_t checksum;
};
struct Entry {
  char name[88];
  char dtype[8];
  uint32_t n, k;
  uint64_t offset, bytes, checksum;
};
static_assert(sizeof(Header) <= kStampOffset && kStampOffset + sizeof(Stamp) <= kHeaderBytes);
static_assert(std::has_unique_object_representations_v<Header> && std::has_unique_object_representations_v<Stamp> &&
              std::has_unique_object_representations_v<Entry>);

template <typename T>
uint64_t checksum_before(const T& value) noexcept {  // of all but the checksum, its last member
  return checksum(std::as_bytes(std::span(&value, 1)).first(sizeof(T) - sizeof(uint64_t)));
}

template <size_t N>
void copy_text(char (&to)[N], std::string_view from) noexcept {
  std::memset(to, 0, N);
  from.copy(to, N - 1);
}

template <size_t N>
std::string_view text(const char (&from)[N]) noexcept {
  return {from, ::strnlen(from, N)};
}

bool read_at(int fd, void* data, size_t bytes, uint64_t offset) noexcept {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n =
        ::pread(fd, static_cast<std::byte*>(data) + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO;  // shorter than it said
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

Status write_at(int fd, const std::string& path, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error("{}: cannot be written: {}", path, std::strerror(n < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

}  // namespace

WeightIdentity weight_identity(const GgufFile& gguf, const WeightLayout& layout) {
  WeightIdentity id;
  id.fingerprint = packing_fingerprint(layout);
  id.head = checksum(gguf.head());
  id.stamp = gguf.stamp();
  id.model = gguf.path();
  const int64_t now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  if (now - std::max(id.stamp.mtime_ns, id.stamp.ctime_ns) < kStampSettlesNs) id.stamp = {};
  return id;
}

uint64_t weight_key(const WeightIdentity& identity, const GgufFile& gguf, const WeightLayout& layout) {
  std::vector<uint64_t> parts = {identity.fingerprint, identity.head, gguf.file_bytes()};
  for (const WeightMatrix& m : layout.matrices()) {
    const size_t at = m.source.size() / 2, count = std::min<size_t>(64, m.source.size() - at);
    parts.push_back(checksum(m.source.subspan(at, count)));
  }
  return checksum_of(std::span<const uint64_t>(parts));
}

void release_sources(const GgufFile& gguf, const WeightLayout& layout, size_t chunk_begin, size_t chunk_end) {
  std::span<const std::byte> run;  // of chunks that lie one after the other in the file
  for (size_t i = chunk_begin; i < chunk_end; ++i) {
    const std::span<const std::byte> source = layout.chunks()[i].source;
    if (!run.empty() && run.data() + run.size() == source.data()) {
      run = {run.data(), run.size() + source.size()};
      continue;
    }
    gguf.release(run);
    run = source;
  }
  gguf.release(run);
}

uint64_t content_checksum(const GgufFile& gguf, const WeightLayout& layout, WorkerPool& pool) {
  constexpr size_t kStep = 256;  // chunks, between which pages are let go
  const auto& chunks = layout.chunks();
  std::vector<uint64_t> sums(chunks.size());
  for (size_t begin = 0; begin < chunks.size(); begin += kStep) {
    const size_t end = std::min(begin + kStep, chunks.size());
    for_each_chunk(pool, begin, end, [&](size_t i) { sums[i] = checksum(chunks[i].source); });
    release_sources(gguf, layout, begin, end);
  }
  release_sources(gguf, layout, 0, chunks.size());  // the pages that two steps share
  return checksum_of(std::span<const uint64_t>(sums));
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

FileMapping::~FileMapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Result<FileMapping> FileMapping::map(int fd, size_t bytes, const std::string& path) {
  if (bytes == 0 || bytes > SIZE_MAX - 2 * kHugePage) return error("{}: cannot be mapped: {} bytes", path, bytes);
  // Reserve more than is needed, place the file at a multiple of a huge page in it, and give back the rest.
  const size_t reserved = round_up(bytes, kHugePage) + kHugePage;
  void* reservation = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reservation == MAP_FAILED) return error("{}: cannot be mapped: {}", path, std::strerror(errno));
  auto* base = static_cast<std::byte*>(reservation);
  const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(base) % kHugePage) % kHugePage;
  if (::mmap(base + skip, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const int code = errno;
    ::munmap(base, reserved);
    return error("{}: cannot be mapped: {}", path, std::strerror(code));
  }
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t end = skip + round_up(bytes, page);
  if (skip != 0) ::munmap(base, skip);
  if (end < reserved) ::munmap(base + end, reserved - end);
  FileMapping m;
  m.data_ = base + skip;
  m.bytes_ = bytes;
  prefer_pages(m.data_, bytes, PageSize::kHuge);  // refused by older systems, which is no harm
  return m;
}

uint64_t weight_data_offset(const WeightLayout& layout) noexcept {
  return round_up(kHeaderBytes + layout.matrices().size() * sizeof(Entry), kWeightAlignment);
}

uint64_t weight_file_bytes(const WeightLayout& layout) noexcept {
  return weight_data_offset(layout) + layout.bytes();
}

Result<WeightFileHead> read_weight_file_head(int fd, const std::string& path) {
  Header h;
  Stamp s;
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return error("{}: cannot be examined: {}", path, std::strerror(errno));
  if (!read_at(fd, &h, sizeof h, 0) || !read_at(fd, &s, sizeof s, kStampOffset))
    return error("{}: truncated: {} bytes, expected a header of {}", path, info.st_size, kHeaderBytes);
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0) return error("{}: is not a file of packed weights", path);
  if (h.version != kVersion) return error("{}: version {}, expected {}", path, h.version, kVersion);
  if (h.checksum != checksum_before(h)) return error("{}: the header is damaged", path);
  if (static_cast<uint64_t>(info.st_size) != h.file_bytes)
    return error("{}: truncated or damaged: {} bytes, expected {}", path, info.st_size, h.file_bytes);
  WeightFileHead out{h.fingerprint, h.gguf_head, h.content, h.directory_checksum, h.file_bytes, h.data_offset,
                     h.matrices,    {},          {}};
  out.model = text(h.model);
  if (s.checksum == checksum_before(s)) out.stamp = {s.device, s.inode, s.bytes, s.mtime_ns, s.ctime_ns};
  return out;
}

Status write_weight_file_head(int fd, const std::string& path, const WeightIdentity& identity,
                              const WeightLayout& layout, std::span<const uint64_t> packed_checksums,
                              uint64_t content) {
  std::vector<Entry> entries(layout.matrices().size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const WeightMatrix& m = layout.matrices()[i];
    copy_text(entries[i].name, m.name);
    copy_text(entries[i].dtype, traits(m.dtype).name);
    entries[i].n = m.n;
    entries[i].k = m.k;
    entries[i].offset = m.offset;
    entries[i].bytes = m.bytes;
    entries[i].checksum = layout.matrix_checksum(i, packed_checksums);
  }
  const std::span<const Entry> directory = entries;
  Header h = {};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.matrices = static_cast<uint32_t>(entries.size());
  h.fingerprint = identity.fingerprint;
  h.gguf_head = identity.head;
  h.content = content;
  h.directory_checksum = checksum_of(directory);
  h.file_bytes = weight_file_bytes(layout);
  h.data_offset = weight_data_offset(layout);
  copy_text(h.model, identity.model);
  h.checksum = checksum_before(h);
  SMEPILOT_TRY(write_at(fd, path, std::as_bytes(directory), kHeaderBytes));
  write_weight_file_stamp(fd, identity.stamp);
  return write_at(fd, path, std::as_bytes(std::span(&h, 1)), 0);
}

void write_weight_file_stamp(int fd, const FileStamp& stamp) noexcept {
  if (stamp == FileStamp{}) return;
  Stamp s{stamp.device, stamp.inode, stamp.bytes, stamp.mtime_ns, stamp.ctime_ns, 0};
  s.checksum = checksum_before(s);
  if (::pwrite(fd, &s, sizeof s, kStampOffset) < 0) return;
}

Status check_directory(const FileMapping& file, const WeightFileHead& head, const WeightLayout& layout,
                       const std::string& path) {
  const auto& matrices = layout.matrices();
  if (head.matrices != matrices.size() || head.file_bytes != weight_file_bytes(layout) ||
      head.data_offset != weight_data_offset(layout))
    return error("{}: {} matrices in {} bytes, expected {} in {}", path, head.matrices, head.file_bytes,
                 matrices.size(), weight_file_bytes(layout));
  const std::span<const Entry> entries(reinterpret_cast<const Entry*>(file.data() + kHeaderBytes), head.matrices);
  if (checksum_of(entries) != head.directory_checksum) return error("{}: the directory is damaged", path);
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& e = entries[i];
    const WeightMatrix& m = matrices[i];
    if (text(e.name) != std::string_view(m.name).substr(0, sizeof e.name - 1) ||
        text(e.dtype) != traits(m.dtype).name || e.n != m.n || e.k != m.k || e.offset != m.offset || e.bytes != m.bytes)
      return error("{}: matrix {} is \"{}\" {} {}x{}, expected \"{}\" {} {}x{}", path, i, printable(text(e.name)),
                   printable(text(e.dtype)), e.n, e.k, m.name, traits(m.dtype).name, m.n, m.k);
  }
  return {};
}

Result<AlignedBuffer> read_panels(int fd, const WeightFileHead& head, WorkerPool& pool, const std::string& path) {
  const uint64_t bytes = head.file_bytes - head.data_offset;
  SMEPILOT_ASSIGN(AlignedBuffer panels, AlignedBuffer::allocate_uninitialized(bytes));
  std::atomic<uint64_t> next{0};
  std::atomic<int> failed{0};  // why
  pool.run(pool.size(), [&](unsigned, unsigned) {
    // A huge page at a time, so that no two workers fault in the same one.
    for (uint64_t at; (at = next.fetch_add(kHugePage, std::memory_order_relaxed)) < bytes && failed == 0;)
      if (!read_at(fd, panels.data() + at, std::min(kHugePage, bytes - at), head.data_offset + at)) failed = errno;
  });
  if (failed != 0) return error("{}: cannot be read: {}", path, std::strerror(failed));
  return panels;
}

Status check_panels(const std::byte* panels, const FileMapping& file, const WeightFileHead& head,
                    const WeightLayout& layout, WorkerPool& pool, const std::string& path) {
  const std::span<const Entry> entries(reinterpret_cast<const Entry*>(file.data() + kHeaderBytes), head.matrices);
  const auto& chunks = layout.chunks();
  std::vector<uint64_t> sums(chunks.size());
  for_each_chunk(pool, 0, chunks.size(),
                 [&](size_t i) { sums[i] = checksum({panels + chunks[i].offset, chunks[i].bytes}); });
  for (size_t i = 0; i < entries.size(); ++i)
    if (layout.matrix_checksum(i, sums) != entries[i].checksum)
      return error("{}: the panels of \"{}\" are damaged", path, layout.matrices()[i].name);
  return {};
}

}  // namespace smepilot

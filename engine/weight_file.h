// One model's packed weights as a file: a header, a directory of matrices, and their panels, every part with a
// checksum. Panels start at multiples of a page, so that a mapped file can be used as it is.
//
//   0        header, 4096 bytes: magic, version, what it was made from, sizes, its checksum; at 2048 the model's stamp
//   4096     directory: per matrix its name, type, sizes, offset, checksum
//   ...      panels, each matrix at a multiple of 4096, offsets as in WeightLayout
//
// Little-endian, like the GGUF file it is made from.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/weight_layout.h"
#include "kernels/base/aligned_buffer.h"
#include "kernels/base/status.h"
#include "profiles/gguf.h"

namespace smepilot {

// What the weights were made from.
struct WeightIdentity {
  uint64_t fingerprint = 0;  // packing_fingerprint()
  uint64_t head = 0;         // checksum of the GGUF's metadata and tensor table
  FileStamp stamp;           // all zero: not to be relied on, the file was written a moment ago
  std::string model;         // path, for the user
};
WeightIdentity weight_identity(const GgufFile& gguf, const WeightLayout& layout);
// Names the cache file: of the identity but its stamp and path, and of samples of every matrix. The same key is not yet
// the same model: that is told by the stamp, or else by the checksum of all its weights (content_checksum()).
uint64_t weight_key(const WeightIdentity& identity, const GgufFile& gguf, const WeightLayout& layout);
// Of the model file's bytes of all matrices. Reads them all, and lets go of their pages.
uint64_t content_checksum(const GgufFile& gguf, const WeightLayout& layout, WorkerPool& pool);
// Lets go of the pages of these chunks' sources.
void release_sources(const GgufFile& gguf, const WeightLayout& layout, size_t chunk_begin, size_t chunk_end);

// Closes on destruction. With a descriptor go its locks (flock).
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();
  int get() const noexcept { return fd_; }
  bool open() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// A whole file, mapped read-only at a multiple of 2 MiB.
class FileMapping {
 public:
  FileMapping() = default;
  FileMapping(FileMapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  FileMapping& operator=(FileMapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;
  ~FileMapping();
  static Result<FileMapping> map(int fd, size_t bytes, const std::string& path);
  const std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Where the panels begin, and how long the file is, for a layout.
uint64_t weight_data_offset(const WeightLayout& layout) noexcept;
uint64_t weight_file_bytes(const WeightLayout& layout) noexcept;

// The head of a file, as far as it can be trusted without looking at the rest.
struct WeightFileHead {
  uint64_t fingerprint = 0, gguf_head = 0, content = 0, directory_checksum = 0;
  uint64_t file_bytes = 0, data_offset = 0;
  uint32_t matrices = 0;
  std::string model;
  FileStamp stamp;  // all zero where it is damaged or not to be relied on
};
// Error: not such a file, another version, damaged, or truncated (the size of the file is looked at).
Result<WeightFileHead> read_weight_file_head(int fd, const std::string& path);

// Writes header and directory; the panels are there already. `content`: checksum of the chunks' sources.
Status write_weight_file_head(int fd, const std::string& path, const WeightIdentity& identity,
                              const WeightLayout& layout, std::span<const uint64_t> packed_checksums, uint64_t content);
// Stores that `stamp` is a file with the stored content. A failure only costs the next start time.
void write_weight_file_stamp(int fd, const FileStamp& stamp) noexcept;

// Does the directory of a mapped file describe this layout? Error: the first difference.
Status check_directory(const FileMapping& file, const WeightFileHead& head, const WeightLayout& layout,
                       const std::string& path);
// The panels, read into huge pages where the system has them, with the pool's workers.
Result<AlignedBuffer> read_panels(int fd, const WeightFileHead& head, WorkerPool& pool, const std::string& path);
// Are all panels, as they lie at `panels`, what was written to the file? Error: the first damaged matrix.
Status check_panels(const std::byte* panels, const FileMapping& file, const WeightFileHead& head,
                    const WeightLayout& layout, WorkerPool& pool, const std::string& path);

}  // namespace smepilot

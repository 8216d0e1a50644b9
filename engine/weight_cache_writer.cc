#include "engine/weight_cache_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels/base/checksum.h"
#include "kernels/base/os.h"

namespace smepilot {
namespace {

// A multiple of a huge page, written at a multiple of its size: so the page cache can hold the file in huge pages.
constexpr uint64_t kBlockBytes = uint64_t{8} << 20;

std::string parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

}  // namespace

WeightCacheWriter::WeightCacheWriter(FileDescriptor fd, std::string path)
    : fd_(std::move(fd)), path_(std::move(path)) {}

WeightCacheWriter::~WeightCacheWriter() {
  if (thread_.joinable()) thread_.join();
  if (!committed_) ::unlink(temporary_path(path_).c_str());
}

Status WeightCacheWriter::reserve(uint64_t bytes, uint64_t reserve_bytes) {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes)
    return error("{}: {} bytes are needed, the limit of a file's size (ulimit -f) is {}", path_, bytes,
                 static_cast<uint64_t>(limit.rlim_cur));
  struct statvfs system = {};
  if (::fstatvfs(fd_.get(), &system) == 0) {
    const uint64_t free = uint64_t{system.f_bavail} * system.f_frsize;
    if (free < bytes || free - bytes < reserve_bytes)
      return error("{}: {:.4g} GB are needed and {:.1f} GB are to stay free, {:.4g} GB are free on the disk", path_,
                   static_cast<double>(bytes) / 1e9, static_cast<double>(reserve_bytes) / 1e9,
                   static_cast<double>(free) / 1e9);
  }
  const int code = reserve_file(fd_.get(), bytes);
  return code == 0 ? Status() : error("{}: {} bytes cannot be had on the disk: {}", path_, bytes, std::strerror(code));
}

void WeightCacheWriter::write_blocks() {
  for (size_t index = 0;; ++index) {
    Block& block = blocks_[index % blocks_.size()];
    bool failed;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return block.full || last_; });
      if (!block.full) return;
      failed = !status_.ok();
    }
    int code = 0;
    for (uint64_t done = 0; done < block.bytes && !failed;) {
      const ssize_t n =
          ::pwrite(fd_.get(), block.buffer.data() + done, block.bytes - done, static_cast<off_t>(block.offset + done));
      if (n > 0) {
        done += static_cast<uint64_t>(n);
      } else if (n == 0 || errno != EINTR) {
        code = n == 0 ? ENOSPC : errno;
        failed = true;
      }
    }
    const std::lock_guard lock(mutex_);
    if (code != 0) status_ = error("{}: cannot be written: {}", path_, std::strerror(code));
    block.full = false;
    changed_.notify_all();
  }
}

WeightCacheWriter::Block& WeightCacheWriter::next_free(size_t index) {
  Block& block = blocks_[index % blocks_.size()];
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !block.full; });
  return block;
}

Status WeightCacheWriter::pack(const GgufFile& gguf, const WeightLayout& layout, WorkerPool& pool,
                               const WeightProgress& progress) {
  const auto& chunks = layout.chunks();
  uint64_t largest = 0;
  for (const WeightChunk& c : chunks) largest = std::max(largest, c.bytes);
  for (Block& block : blocks_) {
    SMEPILOT_ASSIGN(block.buffer, AlignedBuffer::allocate(kBlockBytes + largest));
  }
  packed_.assign(chunks.size(), 0);
  sources_.assign(chunks.size(), 0);
  thread_ = std::thread([this] { write_blocks(); });

  const uint64_t first = weight_data_offset(layout);
  const Block* previous = nullptr;
  uint64_t carry = 0;  // bytes of the last chunk that lie beyond its block
  for (size_t begin = 0, index = 0; begin < chunks.size() || carry > 0; ++index) {
    Block& block = next_free(index);
    {
      const std::lock_guard lock(mutex_);
      if (!status_.ok()) break;
    }
    block.offset = index * kBlockBytes;
    if (carry > 0) std::memcpy(block.buffer.data(), previous->buffer.data() + kBlockBytes, carry);
    uint64_t filled = carry;
    size_t end = begin;
    for (; end < chunks.size() && first + chunks[end].offset < block.offset + kBlockBytes; ++end)
      filled = first + chunks[end].offset + chunks[end].bytes - block.offset;
    for_each_chunk(pool, begin, end, [&](size_t i) {
      std::byte* dst = block.buffer.data() + (first + chunks[i].offset - block.offset);
      layout.pack(chunks[i], dst);
      packed_[i] = checksum({dst, chunks[i].bytes});
      sources_[i] = checksum(chunks[i].source);
    });
    release_sources(gguf, layout, begin, end);
    carry = filled > kBlockBytes ? filled - kBlockBytes : 0;
    previous = &block;
    begin = end;
    {
      const std::lock_guard lock(mutex_);
      block.bytes = filled - carry;
      block.full = true;
    }
    changed_.notify_all();
    if (progress) progress("packing weights", static_cast<double>(begin) / static_cast<double>(chunks.size()));
  }
  release_sources(gguf, layout, 0, chunks.size());  // the pages that two blocks share
  {
    const std::lock_guard lock(mutex_);
    last_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (Block& block : blocks_) block.buffer = AlignedBuffer();
  return status_;
}

Result<CachedWeights> WeightCacheWriter::map(const WeightLayout& layout) const {
  CachedWeights out;
  out.fd = FileDescriptor(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!out.fd.open()) return error("{}: cannot be mapped: {}", path_, std::strerror(errno));
  SMEPILOT_ASSIGN(out.mapping, FileMapping::map(out.fd.get(), weight_file_bytes(layout), path_));
  out.data = out.mapping.data() + weight_data_offset(layout);
  out.path = path_;
  return out;
}

void WeightCacheWriter::commit(const WeightIdentity& identity, const WeightLayout& layout) {
  const uint64_t content = checksum_of(std::span<const uint64_t>(sources_));
  thread_ = std::thread([this, identity, layout, content] {
    const auto store = [&]() -> Status {
      const auto sync = [](int fd, const std::string& what) -> Status {
        return ::fsync(fd) == 0 ? Status() : error("{}: cannot be written: {}", what, std::strerror(errno));
      };
      SMEPILOT_TRY(sync(fd_.get(), path_));  // all else before the head that vouches for it
      SMEPILOT_TRY(write_weight_file_head(fd_.get(), path_, identity, layout, packed_, content));
      SMEPILOT_TRY(sync(fd_.get(), path_));
      if (std::rename(temporary_path(path_).c_str(), path_.c_str()) != 0)
        return error("{}: cannot be renamed: {}", temporary_path(path_), std::strerror(errno));
      committed_ = true;
      ::flock(fd_.get(), LOCK_SH);  // from now on others may read it
      const std::string folder = parent(path_);
      const FileDescriptor dir(::open(folder.c_str(), O_RDONLY | O_CLOEXEC));
      if (dir.open()) ::fsync(dir.get());
      return {};
    };
    status_ = store();
  });
}

Status WeightCacheWriter::finish() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

}  // namespace smepilot

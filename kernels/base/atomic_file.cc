#include "kernels/base/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace smepilot {

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(path_ + ".part"), file_(std::fopen(temporary_.c_str(), "wb")) {
  if (file_ == nullptr) fail("open");
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::remove(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (status_.ok() && std::fwrite(data, 1, bytes, file_) != bytes) fail("write");
}

Status AtomicFile::commit() {
  if (file_ == nullptr) return status_;
  if (std::fclose(std::exchange(file_, nullptr)) != 0) fail("write");
  if (status_.ok() && std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("write");
  if (!status_.ok()) std::remove(temporary_.c_str());
  return status_;
}

void AtomicFile::fail(const char* what) {
  if (status_.ok()) status_ = error("{}: cannot {}: {}", path_, what, std::strerror(errno));
}

}  // namespace smepilot

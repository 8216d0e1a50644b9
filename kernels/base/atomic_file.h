// A file that appears whole or not at all: it is written beside its place and moved there at the end, so that an
// interrupted run or a full disk leaves the old one, or none.
#pragma once
#include <cstdio>
#include <string>
#include <string_view>

#include "kernels/base/status.h"

namespace smepilot {

class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();  // without commit() nothing is left behind
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // The first failure sticks, so that writers need to look only at commit(), or now and then at status().
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  Status commit();
  const Status& status() const noexcept { return status_; }

 private:
  void fail(const char* what);

  std::string path_, temporary_;
  std::FILE* file_;
  Status status_;
};

}  // namespace smepilot

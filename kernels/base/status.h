// Errors as values. A Status is success or a message for the user that names the file or object, the field, what was
// expected and what was found. A Result<T> is a T or such a message. Nothing in the libraries throws on bad input.
#pragma once
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

namespace smepilot {

class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  static Status error(std::string message) {
    Status s;
    s.message_ = std::move(message);
    if (s.message_->empty()) *s.message_ = "unknown error";
    return s;
  }
  bool ok() const noexcept { return !message_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  const std::string& message() const noexcept {
    static const std::string kNone;
    return message_ ? *message_ : kNone;
  }

 private:
  std::optional<std::string> message_;
};

// A formatted error: return error("{}: magic is {:#x}, expected {:#x}", path, found, expected);
template <typename... Args>
Status error(fmt::format_string<Args...> format, Args&&... args) {
  return Status::error(fmt::format(format, std::forward<Args>(args)...));
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    if (status_.ok()) status_ = Status::error("internal error: a Result was made from a success without a value");
  }
  bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  const Status& status() const noexcept { return status_; }
  const std::string& message() const noexcept { return status_.message(); }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace smepilot

// Leaves the function with the error of `expr`, a Status.
#define SMEPILOT_TRY(expr)                                                            \
  do {                                                                                \
    if (auto smepilot_status = (expr); !smepilot_status.ok()) return smepilot_status; \
  } while (0)

// Leaves the function with the error of `expr`, a Result, or assigns its value to `target` (a declaration or lvalue).
#define SMEPILOT_CONCAT_(a, b) a##b
#define SMEPILOT_CONCAT(a, b) SMEPILOT_CONCAT_(a, b)
#define SMEPILOT_ASSIGN_(tmp, target, expr) \
  auto tmp = (expr);                        \
  if (!tmp.ok()) return tmp.status();       \
  target = std::move(tmp).value()
#define SMEPILOT_ASSIGN(target, expr) SMEPILOT_ASSIGN_(SMEPILOT_CONCAT(smepilot_result_, __LINE__), target, expr)

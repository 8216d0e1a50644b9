// Reads JSON from a file that anybody may have written: every field that is missing, unknown, of the wrong type or out
// of range is named by source and path. Internal to db.
#pragma once
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/status.h"

namespace smepilot {

using Json = nlohmann::ordered_json;

// Parses `text`. Errors, with line and column: no JSON, nested deeper than `max_depth`, a key twice in an object.
Result<Json> parse_json(std::string_view text, const std::string& source_name, int max_depth = 16);

// An object whose fields are taken one by one. The first error sticks; finish() gives it, or names a field that nobody
// took.
class ObjectReader {
 public:
  ObjectReader(const Json& value, const std::string& source_name, std::string path);

  std::string text(const char* key, size_t max_length = 65536);
  uint64_t integer(const char* key, uint64_t low, uint64_t high);
  int64_t signed_integer(const char* key, int64_t low, int64_t high);
  double real(const char* key, double low, double high);
  std::vector<double> reals(const char* key, double low, double high);
  bool is_null(const char* key);        // and then takes it
  const Json* object(const char* key);  // nullptr if it is not one
  const Json* array(const char* key);
  bool has(const char* key) const { return usable_ && value_.contains(key); }

  std::string path_of(std::string_view key) const;
  void reject(std::string_view key, const std::string& found, const std::string& expected);
  void reject(const Status& status);
  const Status& status() const noexcept { return error_; }
  Status finish(bool allow_unknown = false);

 private:
  const Json* take(const char* key);

  const Json& value_;
  const std::string& source_name_;
  std::string path_;
  bool usable_;
  std::vector<std::string_view> taken_;
  Status error_;
};

// "a string", "null", … for messages; short scalars with their value.
std::string describe(const Json& value);

}  // namespace smepilot

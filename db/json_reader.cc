#include "db/json_reader.h"

#include <algorithm>
#include <unordered_set>

namespace smepilot {

namespace {

// Where byte `at` of the text is, for people.
std::string position(std::string_view text, size_t at) {
  at = std::min(at, text.size());
  const auto before = text.substr(0, at);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return fmt::format("line {}, column {}", line, at - start + 1);
}

// Checks the text without building anything, so that hostile nesting costs nothing.
class Checker : public nlohmann::json_sax<Json> {
 public:
  Checker(std::string_view text, int max_depth) : text_(text), max_depth_(max_depth) {}
  const std::string& problem() const noexcept { return problem_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return deeper();
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& key) override {
    if (keys_.back().insert(key).second) return true;
    problem_ = fmt::format("the key '{}' appears twice in an object", key.substr(0, 80));
    return false;
  }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception&) override {
    problem_ = fmt::format("not JSON at {}", position(text_, at > 0 ? at - 1 : 0));
    return false;
  }

 private:
  bool deeper() {
    if (++depth_ <= max_depth_) return true;
    problem_ = fmt::format("nested deeper than {} levels", max_depth_);
    return false;
  }

  std::string_view text_;
  int max_depth_, depth_ = 0;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string problem_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& source_name, int max_depth) {
  Checker checker(text, max_depth);
  if (!Json::sax_parse(text.begin(), text.end(), &checker)) return error("{}: {}", source_name, checker.problem());
  return Json::parse(text.begin(), text.end(), nullptr, false);
}

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      return text.size() <= 80 ? "'" + text + "'" : "a string";
    }
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "an array";
    case Json::value_t::null: return "null";
    default: return value.dump();
  }
}

ObjectReader::ObjectReader(const Json& value, const std::string& source_name, std::string path)
    : value_(value), source_name_(source_name), path_(std::move(path)), usable_(value.is_object()) {
  if (!usable_)
    error_ =
        error("{}: {} is {}, expected an object", source_name_, path_.empty() ? "the file" : path_, describe(value));
}

std::string ObjectReader::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void ObjectReader::reject(const Status& status) {
  if (error_.ok()) error_ = status;
}

void ObjectReader::reject(std::string_view key, const std::string& found, const std::string& expected) {
  reject(error("{}: {} is {}, expected {}", source_name_, path_of(key), found, expected));
}

const Json* ObjectReader::take(const char* key) {
  if (!usable_) return nullptr;
  const auto it = value_.find(key);
  if (it == value_.end()) {
    reject(key, "missing", "a value");
    return nullptr;
  }
  taken_.emplace_back(key);
  return &*it;
}

std::string ObjectReader::text(const char* key, size_t max_length) {
  const Json* value = take(key);
  if (value == nullptr) return {};
  if (!value->is_string()) {
    reject(key, describe(*value), "a string");
    return {};
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_length || text.find('\0') != std::string::npos) {
    reject(key, fmt::format("a string of {} bytes", text.size()),
           fmt::format("at most {}, none of them 0", max_length));
    return {};
  }
  return text;
}

uint64_t ObjectReader::integer(const char* key, uint64_t low, uint64_t high) {
  const Json* value = take(key);
  if (value == nullptr) return low;
  if (!value->is_number_unsigned() || value->get<uint64_t>() < low || value->get<uint64_t>() > high) {
    reject(key, describe(*value), fmt::format("an integer in {} .. {}", low, high));
    return low;
  }
  return value->get<uint64_t>();
}

int64_t ObjectReader::signed_integer(const char* key, int64_t low, int64_t high) {
  const Json* value = take(key);
  if (value == nullptr) return low;
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    reject(key, describe(*value), fmt::format("an integer in {} .. {}", low, high));
    return low;
  }
  return value->get<int64_t>();
}

namespace {
bool is_real(const Json& value, double low, double high) {
  if (!value.is_number()) return false;
  const double x = value.get<double>();
  return std::isfinite(x) && x >= low && x <= high;
}
}  // namespace

double ObjectReader::real(const char* key, double low, double high) {
  const Json* value = take(key);
  if (value == nullptr) return low;
  if (!is_real(*value, low, high)) {
    reject(key, describe(*value), fmt::format("a number in {} .. {}", low, high));
    return low;
  }
  return value->get<double>();
}

std::vector<double> ObjectReader::reals(const char* key, double low, double high) {
  std::vector<double> out;
  const Json* value = array(key);
  if (value == nullptr) return out;
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& x = (*value)[i];
    if (!is_real(x, low, high)) {
      reject(fmt::format("{}[{}]", key, i), describe(x), fmt::format("a number in {} .. {}", low, high));
      return {};
    }
    out.push_back(x.get<double>());
  }
  return out;
}

bool ObjectReader::is_null(const char* key) {
  if (!usable_) return false;
  const auto it = value_.find(key);
  if (it == value_.end() || !it->is_null()) return false;
  taken_.emplace_back(key);
  return true;
}

const Json* ObjectReader::object(const char* key) {
  const Json* value = take(key);
  if (value == nullptr || value->is_object()) return value;
  reject(key, describe(*value), "an object");
  return nullptr;
}

const Json* ObjectReader::array(const char* key) {
  const Json* value = take(key);
  if (value == nullptr || value->is_array()) return value;
  reject(key, describe(*value), "an array");
  return nullptr;
}

Status ObjectReader::finish(bool allow_unknown) {
  if (!error_.ok() || allow_unknown) return error_;
  for (const auto& [key, value] : value_.items())
    if (std::find(taken_.begin(), taken_.end(), key) == taken_.end())
      return error("{}: {} is unknown, expected only the fields of the format", source_name_,
                   path_of(key.substr(0, 80)));
  return {};
}

}  // namespace smepilot

// UTF-8, where text may be anything: decoding one code point, and the decoder that streaming output needs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace smepilot {

struct Utf8Char {
  uint32_t code = 0;  // kReplacement if not valid
  uint32_t bytes =
      0;  // 1..4; of an invalid sequence the part to be replaced by one U+FFFD (Unicode 3.9, maximal subpart)
  bool valid = false;
  bool partial = false;  // not valid only because the text ends here
};
inline constexpr uint32_t kReplacement = 0xfffd;

// The code point at the start of `text`, which is not empty.
Utf8Char utf8_decode(std::string_view text) noexcept;
void utf8_append(std::string& out, uint32_t code);

// Bytes in, valid UTF-8 out. Bytes of an unfinished code point are held back until the rest of it comes; what can
// never become one is replaced by U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  std::string finish();  // what is still held back, replaced; ready for a new text afterwards

 private:
  std::string held_;
};

}  // namespace smepilot

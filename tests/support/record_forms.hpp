// Reads lines of a log back, of every form, and says where they are not what was logged. Written
// without a look at how sapwood writes them: it knows what is documented only.
#pragma once

#include <string>
#include <string_view>

namespace sapwood::test {

struct hostile_record {
    std::string_view message;
    std::string_view key;
    std::string_view value;
    std::string_view logger;
    std::string_view thread_name;
    std::string_view task;
    bool is_truncated = false;
};

/// Empty where the record is one line in each form, and reads back as it was.
[[nodiscard]] std::string forms_violation(const hostile_record& record);

/// Empty where escape() and unescape() are each other's inverse for the text, and what escape()
/// makes is one line of UTF-8 without what deceives.
[[nodiscard]] std::string escape_violation(std::string_view text);

/// Empty where a reader of a ring whose header and first bytes are `bytes` stays within it, ends,
/// and gives frames that are within it.
[[nodiscard]] std::string ring_violation(std::string_view bytes);

} // namespace sapwood::test

// Checks of words on the command line, most of them numbers, as CLI11 wants them: what is wrong
// with the text, or nothing. Its own would show the limits of the machine's types instead.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <system_error>

namespace sapwood::tools {

/// 0 and more.
[[nodiscard]] inline std::string is_no_whole_number(const std::string& text) {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number);
    return !text.empty() && read.ec == std::errc() && read.ptr == end
               ? std::string()
               : "say a whole number, not '" + text + "'";
}

/// Of --colour.
[[nodiscard]] inline std::string is_no_occasion(const std::string& text) {
    return text == "auto" || text == "always" || text == "never"
               ? std::string()
               : "say auto, always or never, not '" + text + "'";
}

/// Of an option that would not be given without a word: what it is given by is a variable of a
/// shell, and not set.
[[nodiscard]] inline std::string is_empty_word(const std::string& text) {
    return text.empty() ? "is given without a value: say one, or leave the option out"
                        : std::string();
}

/// 0 and more, no more than a clock can count.
[[nodiscard]] inline std::string is_no_seconds(const std::string& text) {
    constexpr double seconds_max = 1e9;
    double seconds = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, seconds);
    return !text.empty() && read.ec == std::errc() && read.ptr == end && std::isfinite(seconds) &&
                   seconds >= 0 && seconds <= seconds_max
               ? std::string()
               : "say a number of seconds, not '" + text + "'";
}

} // namespace sapwood::tools

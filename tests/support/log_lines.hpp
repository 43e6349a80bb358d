// What a log has written, as tests look at it: lines, which of them are records of the test's
// ("number 12"), and how many records its gap lines say are missing.
#pragma once

#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace sapwood::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool has_tsan = true;
#else
inline constexpr bool has_tsan = false;
#endif

/// Only the level and the message: the rest is not the same twice.
inline constexpr text_layout_options bare_form{.pattern = "%l %v"};

[[nodiscard]] inline std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

[[nodiscard]] inline std::uint64_t records_in(const std::vector<std::string>& lines) {
    return static_cast<std::uint64_t>(
        std::count_if(lines.begin(), lines.end(),
                      [](const auto& line) { return line.find("number ") != std::string::npos; }));
}

/// Records that a gap line says are missing.
[[nodiscard]] inline std::uint64_t missing_in(const std::vector<std::string>& lines) {
    std::uint64_t missing = 0;
    for (const auto& line : lines) {
        if (line.find(" missing here") != std::string::npos) {
            missing += std::stoull(line.substr(line.find(' ') + 1));
        }
    }
    return missing;
}

/// A log into memory.
struct memory_log {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(64u << 20);

    [[nodiscard]] logger_options options(std::string_view pattern = bare_form.pattern) const {
        logger_options made;
        made.outputs.push_back(
            {.sink = std::make_unique<memory_log_sink>(memory),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = pattern})});
        return made;
    }

    [[nodiscard]] std::vector<std::string> lines() const { return lines_of(memory->text()); }
};

} // namespace sapwood::test

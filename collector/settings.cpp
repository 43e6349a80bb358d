#include "settings.hpp"

#include <charconv>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::collector {

durability parse_durability(std::string_view text, std::string_view option) {
    if (text == "batch") {
        return durability::batch();
    }
    if (text == "none") {
        return durability::none();
    }
    double seconds = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || !(seconds > 0) ||
        seconds > 86400) {
        throw std::invalid_argument(
            fmt::format("{} is batch, none or a number of seconds, not {}", option, text));
    }
    return durability::interval(
        std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds)));
}

mode_t parse_mode(std::string_view text, std::string_view option) {
    mode_t mode = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size() ||
        mode > 0777) {
        throw std::invalid_argument(
            fmt::format("{} is octal, as 600 or 666, not {}", option, text));
    }
    return mode;
}

endpoint parse_place(std::string_view text) {
    return text.starts_with('/') || text.starts_with('.') ? endpoint::unix_path(text)
                                                          : endpoint::parse(text);
}

#ifndef SAPWOOD_HAS_TOML
bool can_read_settings() noexcept {
    return false;
}

collector_options read_settings(const std::string& path) {
    throw std::runtime_error(
        fmt::format("{} cannot be read: this program was built without toml++", path));
}
#endif

} // namespace sapwood::collector

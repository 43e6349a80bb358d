#include <sapwood/level.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace sapwood {

namespace {

constexpr std::array<std::pair<std::string_view, level>, 10> names{{
    {"trace", level::trace},
    {"debug", level::debug},
    {"info", level::info},
    {"warning", level::warning},
    {"warn", level::warning},
    {"error", level::error},
    {"err", level::error},
    {"critical", level::critical},
    {"fatal", level::critical},
    {"off", level::off},
}};

bool equal_in_any_case(std::string_view one, std::string_view lower) noexcept {
    return std::ranges::equal(one, lower, [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + ('a' - 'A')) : a) == b;
    });
}

} // namespace

std::optional<level> parse_level(std::string_view name) noexcept {
    for (const auto& [text, value] : names) {
        if (equal_in_any_case(name, text)) {
            return value;
        }
    }
    return std::nullopt;
}

} // namespace sapwood

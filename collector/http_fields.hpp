// What fields of a request's head, and its target, mean. Any thread.
#pragma once

#include "http_parser.hpp"

#include <string_view>

namespace sapwood::collector {

/// But for capitals of `text`; `name` is lower case.
[[nodiscard]] bool is_named(std::string_view text, std::string_view name) noexcept;

/// Of `application/json; charset=utf-8`.
[[nodiscard]] media_type media_type_of(std::string_view text) noexcept;

[[nodiscard]] content_coding coding_of(std::string_view text) noexcept;

/// Path and query of `http://host/path?query`; others are as they are.
[[nodiscard]] std::string_view without_authority(std::string_view target) noexcept;

} // namespace sapwood::collector

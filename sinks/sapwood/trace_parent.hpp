// trace_parent: the header by which a request says which trace it belongs to, and what in it has
// made it (W3C Trace Context, `traceparent`). Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sapwood {

struct trace_parent {
    static constexpr std::size_t trace_id_bytes = 32;
    static constexpr std::size_t span_id_bytes = 16;

    /// Lower case hexadecimal digits, not all zeros.
    std::array<char, trace_id_bytes> trace{};
    std::array<char, span_id_bytes> span{};
    /// Whether who made the request records it.
    bool is_sampled = true;

    [[nodiscard]] std::string_view trace_id() const noexcept {
        return {trace.data(), trace.size()};
    }

    [[nodiscard]] std::string_view span_id() const noexcept { return {span.data(), span.size()}; }

    /// Nothing where it is none: by the W3C's rules, such a header is then to be ignored. A newer
    /// version is read as far as it is the same.
    [[nodiscard]] static std::optional<trace_parent> parse(std::string_view header) noexcept;

    /// As a header's value, of version 00.
    [[nodiscard]] std::string text() const;
};

} // namespace sapwood

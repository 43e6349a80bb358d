#include <sapwood/trace_parent.hpp>

#include <algorithm>

namespace sapwood {

namespace {

bool is_lower_hex(std::string_view text) noexcept {
    return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_all_zeros(std::string_view text) noexcept {
    return text.find_first_not_of('0') == std::string_view::npos;
}

} // namespace

std::optional<trace_parent> trace_parent::parse(std::string_view header) noexcept {
    // version "-" trace-id "-" parent-id "-" flags: 2, 32, 16 and 2 digits.
    constexpr std::size_t trace_at = 3;
    constexpr std::size_t span_at = 36;
    constexpr std::size_t flags_at = 53;
    constexpr std::size_t bytes = 55;
    if (header.size() < bytes || header[2] != '-' || header[span_at - 1] != '-' ||
        header[flags_at - 1] != '-') {
        return std::nullopt;
    }
    const std::string_view version = header.substr(0, 2);
    const std::string_view trace = header.substr(trace_at, trace_id_bytes);
    const std::string_view span = header.substr(span_at, span_id_bytes);
    const std::string_view flags = header.substr(flags_at, 2);
    const bool may_be_longer = version != "00" && header.size() > bytes && header[bytes] == '-';
    if (!is_lower_hex(version) || !is_lower_hex(trace) || !is_lower_hex(span) ||
        !is_lower_hex(flags) || version == "ff" || is_all_zeros(trace) || is_all_zeros(span) ||
        (header.size() > bytes && !may_be_longer)) {
        return std::nullopt;
    }
    trace_parent read;
    std::ranges::copy(trace, read.trace.begin());
    std::ranges::copy(span, read.span.begin());
    const char low = flags[1];
    read.is_sampled = ((low <= '9' ? low - '0' : low - 'a' + 10) & 1) != 0;
    return read;
}

std::string trace_parent::text() const {
    std::string header = "00-";
    header.append(trace_id()).append("-").append(span_id());
    return header.append(is_sampled ? "-01" : "-00");
}

} // namespace sapwood

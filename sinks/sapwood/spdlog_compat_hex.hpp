// spdlog's to_hex: bytes in hexadecimal digits as an argument of a log call. A record is one line,
// so a dump of several lines has its newlines escaped; `{:n}` has none. Part of spdlog_compat.hpp,
// which see.
#pragma once

#include <cstddef>
#include <iterator>
#include <ranges>
#include <sapwood/fmt_library.hpp>

namespace sapwood::spdlog_compat {

namespace details {

/// Bytes that somebody else holds.
template <class Iterator>
struct dump_info {
    Iterator first;
    Iterator last;
    std::size_t bytes_per_line;
};

} // namespace details

/// Of a container of bytes, or a span; it must live until the call is over.
template <std::ranges::forward_range Bytes>
    requires(sizeof(std::ranges::range_value_t<Bytes>) == 1)
[[nodiscard]] auto to_hex(const Bytes& bytes, std::size_t bytes_per_line = 32) {
    return details::dump_info<std::ranges::iterator_t<const Bytes>>{
        std::ranges::begin(bytes), std::ranges::end(bytes), bytes_per_line};
}

template <std::forward_iterator Iterator>
[[nodiscard]] details::dump_info<Iterator> to_hex(Iterator first, Iterator last,
                                                  std::size_t bytes_per_line = 32) {
    return {first, last, bytes_per_line};
}

} // namespace sapwood::spdlog_compat

/// Flags, any of them: `X` capital letters, `s` no space between bytes, `p` no position at the
/// beginning of lines, `n` all in one line, `a` the characters behind each line.
template <class Iterator>
struct fmt::formatter<sapwood::spdlog_compat::details::dump_info<Iterator>> {
    constexpr auto parse(fmt::format_parse_context& context) {
        auto at = context.begin();
        for (; at != context.end() && *at != '}'; ++at) {
            switch (*at) {
            case 'X':
                digits_ = "0123456789ABCDEF";
                break;
            case 's':
                has_spaces_ = false;
                break;
            case 'p':
                has_positions_ = false;
                break;
            case 'n':
                has_lines_ = false;
                break;
            case 'a':
                has_characters_ = true;
                break;
            default:
                break;
            }
        }
        return at;
    }

    template <class Context>
    auto format(const sapwood::spdlog_compat::details::dump_info<Iterator>& dump,
                Context& context) const {
        auto to = context.out();
        std::size_t position = 0;
        for (auto line = dump.first; line != dump.last;) {
            auto end = line;
            std::size_t bytes = 0;
            for (; end != dump.last && (!has_lines_ || bytes < dump.bytes_per_line); ++bytes) {
                ++end;
            }
            if (bytes == 0) { // of no bytes in a line
                break;
            }
            if (has_lines_) {
                *to++ = '\n';
                if (has_positions_) {
                    to = fmt::format_to(to, "{:04X}: ", position);
                }
            }
            put_digits(line, end, to);
            if (has_lines_ && has_characters_) {
                const std::size_t missing = position == 0 ? 0 : dump.bytes_per_line - bytes;
                to = fmt::format_to(to, "{:{}}", "", missing * (has_spaces_ ? 3 : 2) + 2);
                put_characters(line, end, to);
            }
            position += bytes;
            line = end;
        }
        return to;
    }

  private:
    template <class Output>
    void put_digits(Iterator from, Iterator end, Output& to) const {
        for (auto at = from; at != end; ++at) {
            if (has_spaces_ && at != from) {
                *to++ = ' ';
            }
            const auto byte = static_cast<unsigned char>(*at);
            *to++ = digits_[byte >> 4];
            *to++ = digits_[byte & 15];
        }
    }

    template <class Output>
    static void put_characters(Iterator from, Iterator end, Output& to) {
        for (auto at = from; at != end; ++at) {
            const auto byte = static_cast<unsigned char>(*at);
            *to++ = byte >= ' ' && byte < 0x7f ? static_cast<char>(byte) : '.';
        }
    }

    const char* digits_ = "0123456789abcdef";
    bool has_spaces_ = true;
    bool has_positions_ = true;
    bool has_lines_ = true;
    bool has_characters_ = false;
};

#include "http_response.hpp"

#include <sapwood/buffered_reader.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <optional>
#include <string_view>
#include <system_error>

namespace sapwood::tools {

namespace {

constexpr std::size_t line_bytes_max = 8u << 10;
constexpr int fields_max = 100;
constexpr std::size_t body_bytes_kept = 4u << 10;
constexpr std::uint64_t body_bytes_max = 1u << 20;
constexpr auto retry_after_max = std::chrono::seconds(300);

[[noreturn]] void refuse(std::string_view why) {
    throw std::system_error(EPROTO, std::generic_category(),
                            fmt::format("the answer is no HTTP: {}", why));
}

std::string lower(std::string_view text) {
    std::string made(text);
    std::ranges::transform(made, made.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    return made;
}

std::optional<std::uint64_t> number_of(std::string_view digits, int base = 10) noexcept {
    std::uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
    return error == std::errc() && end == digits.data() + digits.size() ? std::optional(number)
                                                                        : std::nullopt;
}

/// What says how long the body is.
struct framing {
    std::optional<std::uint64_t> length;
    bool is_chunked = false;
};

void take_field(std::string_view line, http_response& answer, framing& body) {
    const std::size_t colon = line.find(':');
    if (colon == line.npos || colon == 0 || line.front() == ' ' || line.front() == '\t') {
        refuse("a field has no name");
    }
    const std::string name = lower(line.substr(0, colon));
    std::string_view value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    value = value.substr(0, value.find_last_not_of(" \t") + 1);
    if (name == "content-length") {
        const auto length = number_of(value);
        if (!length || (body.length && *body.length != *length)) {
            refuse("its Content-Length is in doubt");
        }
        body.length = length;
    } else if (name == "transfer-encoding") {
        body.is_chunked = lower(value) == "chunked";
        if (!body.is_chunked) {
            refuse("its Transfer-Encoding is unknown");
        }
    } else if (name == "connection") {
        answer.is_last = answer.is_last || lower(value).find("close") != std::string::npos;
    } else if (name == "retry-after") {
        // A date is not understood: then it is as if nothing had been said.
        const auto seconds = number_of(value).value_or(0);
        answer.retry_after = std::chrono::seconds(
            std::min<std::uint64_t>(seconds, static_cast<std::uint64_t>(retry_after_max.count())));
    }
}

template <class Source>
task<std::string> read_line(buffered_reader<Source>& from) {
    std::string_view line;
    if (!co_await from.read_line(line)) {
        throw std::system_error(ECONNRESET, std::generic_category(),
                                "the connection ended before its answer");
    }
    co_return std::string(line);
}

template <class Source>
task<> read_body(buffered_reader<Source>& from, std::uint64_t length, std::string& into) {
    char piece[4096];
    if (length > body_bytes_max) {
        refuse("it is too long");
    }
    while (length > 0) {
        const std::size_t wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(length, sizeof(piece)));
        const std::size_t got = co_await from.read_some({piece, wanted});
        if (got == 0) {
            refuse("it ends before its length");
        }
        into.append(piece, std::min(got, body_bytes_kept - std::min(body_bytes_kept, into.size())));
        length -= got;
    }
}

template <class Source>
task<> read_chunks(buffered_reader<Source>& from, std::string& into) {
    for (std::uint64_t all = 0;;) {
        const std::string size_line = co_await read_line(from);
        const std::uint64_t size =
            number_of(size_line.substr(0, size_line.find(';')), 16).value_or(body_bytes_max + 1);
        if (size > body_bytes_max || size > body_bytes_max - all) {
            refuse("a chunk has no length that can be");
        }
        if (size == 0) {
            break;
        }
        all += size;
        co_await read_body(from, size, into);
        if (const std::string end = co_await read_line(from); !end.empty()) {
            refuse("a chunk is longer than it says");
        }
    }
    for (int fields = 0; fields < fields_max; ++fields) {
        if (const std::string trailer = co_await read_line(from); trailer.empty()) {
            co_return;
        }
    }
    refuse("it has too many fields");
}

template <class Source>
task<http_response> read_from(Source& from) {
    buffered_reader<Source> lines(from, {.piece_bytes_max = line_bytes_max});
    for (;;) {
        http_response answer;
        framing body;
        const std::string first = co_await read_line(lines);
        const auto status =
            number_of(std::string_view(first).substr(std::min<std::size_t>(9, first.size()), 3));
        if (!first.starts_with("HTTP/1.") || first.size() < 12 || !status || *status < 100) {
            refuse("its first line is none");
        }
        answer.status = static_cast<int>(*status);
        answer.is_last = first[7] == '0';
        int fields = 0;
        for (;;) {
            const std::string line = co_await read_line(lines);
            if (line.empty()) {
                break;
            }
            if (++fields > fields_max) {
                refuse("it has too many fields");
            }
            take_field(line, answer, body);
        }
        if (answer.status < 200) {
            continue;
        }
        if (answer.status != 204 && answer.status != 304) {
            if (body.is_chunked) {
                co_await read_chunks(lines, answer.body);
            } else if (body.length) {
                co_await read_body(lines, *body.length, answer.body);
            } else {
                answer.is_last = true; // its body goes to the end of the stream; nobody needs it
            }
        }
        // Who sends more than it was asked for is not understood.
        answer.is_last = answer.is_last || (body.is_chunked && body.length);
        co_return answer;
    }
}

} // namespace

task<http_response> http_response::read(stream& from) {
    return read_from(from);
}

task<http_response> http_response::read(secured_peer& from) {
    return read_from(from);
}

} // namespace sapwood::tools

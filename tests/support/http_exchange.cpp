#include "support/http_exchange.hpp"

#include <charconv>
#include <fmt/format.h>
#include <span>

namespace sapwood::test {

namespace {

constexpr std::string_view length_field = "\r\nContent-Length: ";

/// 0 where there is none.
std::size_t number_at(std::string_view text, std::size_t at) {
    std::size_t number = 0;
    if (at < text.size()) {
        std::from_chars(text.data() + at, text.data() + text.size(), number);
    }
    return number;
}

} // namespace

std::string get_request(std::string_view target) {
    return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", target);
}

std::string post_request(std::string_view target, std::string_view body, std::string_view fields) {
    return fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}",
                       target, body.size(), fields, body);
}

task<std::optional<http_answer>> read_answer(buffered_reader<stream>& from) {
    http_answer answer;
    answer.head = co_await from.read_until("\r\n\r\n");
    if (!answer.head.ends_with("\r\n\r\n")) {
        co_return std::nullopt;
    }
    answer.status = static_cast<unsigned>(number_at(answer.head, answer.head.find(' ') + 1));
    const auto at = answer.head.find(length_field);
    answer.body.resize(at == answer.head.npos ? 0
                                              : number_at(answer.head, at + length_field.size()));
    if (!answer.body.empty()) { // not by &&, behind which gcc 12 awaits all the same
        const bool is_whole = co_await from.read_exactly(std::span(answer.body));
        if (!is_whole) {
            co_return std::nullopt;
        }
    }
    co_return answer;
}

} // namespace sapwood::test

// Requests and answers of HTTP/1.1, as a client has them that knows what it talks to: a length is
// always there.
#pragma once

#include <sapwood/buffered_reader.hpp>
#include <sapwood/stream.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sapwood::test {

struct http_answer {
    unsigned status = 0;
    std::string head;
    std::string body;
};

[[nodiscard]] std::string get_request(std::string_view target);

/// `fields` are more lines of the head, each with its CR LF.
[[nodiscard]] std::string post_request(std::string_view target, std::string_view body,
                                       std::string_view fields = "");

/// The next one that comes; nothing where the connection ends before it is whole. Throws
/// std::system_error where the connection breaks.
[[nodiscard]] task<std::optional<http_answer>> read_answer(buffered_reader<stream>& from);

} // namespace sapwood::test

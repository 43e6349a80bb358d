// http_response: the answer to a request of HTTP/1.1 (RFC 9112), out of a stream, bounded in head
// and body. What is in doubt ends the connection. Loop thread only.
#pragma once

#include "secured_peer.hpp"

#include <sapwood/clock.hpp>
#include <sapwood/stream.hpp>
#include <sapwood/task.hpp>

#include <string>

namespace sapwood::tools {

struct http_response {
    int status = 0;
    /// Of the body, what fits; a longer one is read over.
    std::string body;
    /// Zero: it does not say.
    clock::duration retry_after{};
    /// No other request may follow on this connection.
    bool is_last = false;

    /// Reads one, and whatever 1xx stands before it. Throws std::system_error: the stream's, EPROTO
    /// for what is no answer.
    [[nodiscard]] static task<http_response> read(stream& from);
    [[nodiscard]] static task<http_response> read(secured_peer& from);
};

} // namespace sapwood::tools

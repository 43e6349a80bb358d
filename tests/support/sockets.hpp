// Connected sockets for tests, on the loopback and on ports that were free.
#pragma once

#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/tcp.hpp>

#include <doctest/doctest.h>
#include <string>
#include <sys/socket.h>
#include <system_error>
#include <utility>

namespace sapwood::test {

inline endpoint loopback() {
    return {"127.0.0.1", 0};
}

/// Many containers have none.
inline bool has_ipv6() {
    try {
        const tcp_listener probe(endpoint("::1", 0));
        return true;
    } catch (const std::system_error& refused) {
        MESSAGE("IPv6 is not tried: " << refused.what());
        return false;
    }
}

struct tcp_pair {
    tcp_stream client;
    tcp_stream server;
};

inline task<tcp_pair> connected() {
    tcp_listener listener(loopback());
    tcp_pair pair;
    pair.client = co_await tcp_stream::connect(listener.local_endpoint());
    pair.server = co_await listener.accept();
    co_return pair;
}

/// Lets the kernel take what is staged.
inline task<> settle() {
    for (int i = 0; i < 4; ++i) {
        co_await yield();
    }
}

/// Whether what is awaited was cancelled.
template <class Handle>
task<bool> is_cancelled(Handle& of) {
    bool was_cancelled = false;
    try {
        co_await of;
    } catch (const cancelled&) {
        was_cancelled = true;
    }
    co_return was_cancelled;
}

/// How awaiting what `start` returns fails, and the text.
template <class F>
task<std::pair<std::error_code, std::string>> failure_of(F start) {
    try {
        (void)co_await start();
    } catch (const std::system_error& failure) {
        co_return std::pair(failure.code(), std::string(failure.what()));
    }
    co_return std::pair(std::error_code(), std::string("it did not fail"));
}

/// Everything until the peer ends the stream.
template <class Source>
task<std::string> read_to_end(Source& from) {
    std::string text;
    std::string piece(4096, ' ');
    while (const auto got = co_await from.read_some(piece)) {
        text.append(piece, 0, got);
    }
    co_return text;
}

/// The socket's close resets the connection instead of ending it.
inline void reset_on_close(const socket& of) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(of.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/// A few kilobytes, so that writes end short. (With a small receive buffer as well, TCP would wait
/// for its timers.)
inline void shrink_send_buffer(const socket& of) {
    const int bytes = 4096;
    ::setsockopt(of.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

} // namespace sapwood::test

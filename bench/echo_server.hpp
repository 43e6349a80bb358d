// The servers that bench_echo and bench_memory measure, each in a process of its own: all send back
// what they get, unchanged.
//
// A server listens on a free port of 127.0.0.1, prints the port, and serves until it is killed. It
// trusts its clients to read: what a server owes to those who do not is in demos/server_models.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bench {

struct echo_options {
    // What is received at once at most: of each connection where the server keeps a buffer for
    // each, else of each of its buffers.
    std::size_t buffer_bytes = 16 * 1024;
};

void serve_by_sapwood(const echo_options& options);
void serve_by_liburing(const echo_options& options);
void serve_by_epoll(const echo_options& options);

// On whatever Asio is compiled for in this program.
void serve_by_asio(const echo_options& options);

// Listens on 127.0.0.1; connections that are accepted have TCP_NODELAY. Throws std::system_error.
[[nodiscard]] int listen_on_loopback(bool is_nonblocking);

[[nodiscard]] std::uint16_t port_of(int fd);

// Tells the parent that clients may come.
void print_port(std::uint16_t port);

} // namespace bench

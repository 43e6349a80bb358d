// Echo by Asio's coroutines, as an expert with one thread writes it: concurrency hint 1 and the
// io_context's own executor. Compiled twice: for epoll, and for io_uring in a program of its own.

#include <cstddef>
#include <memory>
#include <utility>

#include <asio.hpp>

#include "echo_server.hpp"

namespace bench {

namespace {

using executor = asio::io_context::executor_type;
using socket = asio::basic_stream_socket<asio::ip::tcp, executor>;
using acceptor = asio::basic_socket_acceptor<asio::ip::tcp, executor>;
template <typename T = void>
using task = asio::awaitable<T, executor>;
constexpr asio::use_awaitable_t<executor> use_awaitable{};

task<> echo(socket client, std::size_t buffer_bytes) {
    const auto bytes = std::make_unique_for_overwrite<char[]>(buffer_bytes);
    client.set_option(asio::ip::tcp::no_delay{true});
    try {
        for (;;) {
            const std::size_t got = co_await client.async_read_some(
                asio::buffer(bytes.get(), buffer_bytes), use_awaitable);
            co_await asio::async_write(client, asio::buffer(bytes.get(), got), use_awaitable);
        }
    } catch (const asio::system_error&) { // its end is one, too
    }
}

task<> serve_all(acceptor& listener, std::size_t buffer_bytes) {
    for (;;) {
        socket client = co_await listener.async_accept(use_awaitable);
        asio::co_spawn(listener.get_executor(), echo(std::move(client), buffer_bytes),
                       asio::detached);
    }
}

} // namespace

void serve_by_asio(const echo_options& options) {
    asio::io_context context{1};
    acceptor listener{context.get_executor(),
                      asio::ip::tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    listener.listen(asio::socket_base::max_listen_connections);
    print_port(listener.local_endpoint().port());
    asio::co_spawn(context, serve_all(listener, options.buffer_bytes), asio::detached);
    context.run();
}

} // namespace bench

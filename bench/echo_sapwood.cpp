// Echo by sapwood, as its documentation shows it: a task per connection, which reads and writes.

#include <cstddef>
#include <memory>
#include <system_error>
#include <utility>

#include <sapwood/endpoint.hpp>
#include <sapwood/run.hpp>
#include <sapwood/serve.hpp>
#include <sapwood/tcp.hpp>

#include "echo_server.hpp"

namespace bench {

namespace {

sapwood::task<> echo(sapwood::tcp_stream client, std::size_t buffer_bytes) {
    const auto bytes = std::make_unique_for_overwrite<char[]>(buffer_bytes);
    try {
        while (const auto got = co_await client.read_some({bytes.get(), buffer_bytes})) {
            co_await client.write_all({bytes.get(), got});
        }
    } catch (const std::system_error&) { // a client that is lost is no failure of the server
    }
}

sapwood::task<> serve_all(std::size_t buffer_bytes) {
    sapwood::tcp_listener listener{sapwood::endpoint{"127.0.0.1", 0}};
    print_port(listener.local_endpoint().port());
    co_await sapwood::serve(listener, [buffer_bytes](sapwood::tcp_stream client) {
        return echo(std::move(client), buffer_bytes);
    });
}

} // namespace

void serve_by_sapwood(const echo_options& options) {
    sapwood::run(serve_all(options.buffer_bytes));
}

} // namespace bench

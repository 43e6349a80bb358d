// Echo by sapwood, as its documentation shows it: a task per connection, which reads and writes.

#include <system_error>

#include <sapwood/endpoint.hpp>
#include <sapwood/run.hpp>
#include <sapwood/serve.hpp>
#include <sapwood/tcp.hpp>

#include "echo_server.hpp"

namespace bench {

namespace {

sapwood::task<> echo(sapwood::tcp_stream client) {
    try {
        while (const sapwood::received piece = co_await client.receive()) {
            co_await client.write_all(piece.bytes());
        }
    } catch (const std::system_error&) { // a client that is lost is no failure of the server
    }
}

sapwood::task<> serve_all() {
    sapwood::tcp_listener listener{sapwood::endpoint{"127.0.0.1", 0}};
    print_port(listener.local_endpoint().port());
    co_await sapwood::serve(listener, echo);
}

} // namespace

void serve_by_sapwood(const echo_options&) {
    sapwood::run(serve_all());
}

} // namespace bench

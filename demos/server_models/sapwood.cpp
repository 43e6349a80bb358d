// sapwood: a task per connection, code as plain as that of a process or a thread, on one thread and
// without locks. The kernel does not tell that there is something to read, it reads, and tells
// afterwards.
#include "service.hpp"

#include <sapwood/sapwood.hpp>

#include <csignal>
#include <memory>
#include <system_error>

namespace server_models {

namespace {

using sapwood::task;
using sapwood::tcp_stream;

task<> answer(tcp_stream& client, const service& what) {
    const auto bytes = std::make_unique_for_overwrite<char[]>(message_bytes_max);
    while (const auto got = co_await client.read_some({bytes.get(), message_bytes_max})) {
        const std::span<char> message(bytes.get(), got);
        what.answer(message);
        co_await client.write_all(message);
    }
}

task<> meet(tcp_stream client, const service& what) {
    std::string name = "a client that has gone already";
    try {
        name = client.peer_endpoint().to_string();
        what.say("new connection from {}", name);
        co_await answer(client, what);
        what.say("{} has left", name);
    } catch (const std::system_error& failure) {
        what.say("{} is lost: {}", name, failure.what());
    }
}

task<> accept_all(const service& what) {
    sapwood::tcp_listener listener(sapwood::endpoint(what.host, what.port));
    listener.on_pause([](std::string_view line) { print_line("{}", line); });
    print_line("starting up on {}", listener.local_endpoint().to_string());
    co_await sapwood::serve(listener,
                            [&](tcp_stream client) { return meet(std::move(client), what); });
}

task<> watch_signals() {
    sapwood::signal_set signals{SIGINT, SIGTERM};
    (void)co_await signals.next();
}

} // namespace

/// Whichever of the two ends first, the other one is cancelled, and with it every client's task.
void serve_by_sapwood(const service& what) {
    sapwood::run(
        [&]() -> task<> { co_await sapwood::when_any(watch_signals(), accept_all(what)); });
}

} // namespace server_models

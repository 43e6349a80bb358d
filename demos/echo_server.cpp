// Answers every message of every client in upper case: one task per client, so that each client's
// answers are in order and a slow one holds up nobody. One thread.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

#include <csignal>
#include <cstdint>
#include <exception>
#include <fmt/format.h>
#include <string>
#include <system_error>

namespace {

using sapwood::task;
using sapwood::tcp_stream;

/// ASCII only, whatever the locale: bytes of UTF-8 pass as they are.
char upper_case(char letter) {
    return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
}

task<> answer(tcp_stream& client) {
    while (const sapwood::received message = co_await client.receive()) {
        for (char& letter : message.bytes()) {
            letter = upper_case(letter);
        }
        co_await client.write_all(message.bytes());
    }
}

task<> meet(tcp_stream client) {
    std::string name = "a client that has gone already";
    try {
        name = client.peer_endpoint().to_string();
        print_line("new connection from {}", name);
        co_await answer(client);
        print_line("{} has left", name);
    } catch (const std::system_error& failure) {
        print_line("{} is lost: {}", name, failure.what());
    }
}

task<> accept_all(const sapwood::endpoint& at) {
    sapwood::tcp_listener listener(at);
    print_line("starting up on {}", listener.local_endpoint().to_string());
    co_await sapwood::serve(listener, meet);
}

/// Ends, as a task does that is told to stop, when Ctrl-C is pressed.
task<> watch_signals() {
    sapwood::signal_set signals{SIGINT, SIGTERM};
    (void)co_await signals.next();
    throw sapwood::cancelled{};
}

/// Whichever of the two ends first, the other one is cancelled, and with it every client's task.
task<> serve(const sapwood::endpoint& at) {
    try {
        co_await sapwood::when_all(watch_signals(), accept_all(at));
    } catch (const sapwood::cancelled&) {
        print_line("shut down");
    }
}

} // namespace

int main(int argc, char** argv) {
    std::string host = "127.0.0.1";
    std::uint16_t port = 10000;

    command_line line(
        "Sends back in upper case what its clients say.",
        "Ctrl-C or SIGTERM: hangs up on every client and exits with 0.\n"
        "Exit status: 0 stopped by a signal; 1 it cannot listen there; 2 bad arguments.");
    line.number({"--port", "0 takes one that is free and says which", "N"}, port);
    line.text({"--host", "The numeric address to listen on; :: or 0.0.0.0 for all", "H"}, host);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        sapwood::run(serve(sapwood::endpoint(host, port)));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "echo_server: {}\n", failure.what());
        return 1;
    }
}

// Two connections to demos/echo_server at once: each message is sent on both, and then the answer
// is read on both.
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdint>
#include <exception>
#include <fmt/format.h>
#include <string>
#include <string_view>

namespace {

using sapwood::task;
using sapwood::tcp_stream;

constexpr std::array<std::string_view, 3> messages{"This is the message. ", "It will be sent ",
                                                   "in parts."};

/// The answer is as long as the message, but may come in pieces.
task<std::string> receive(tcp_stream& from, std::size_t size) {
    std::string text(size, ' ');
    if (!co_await from.read_exactly(text)) {
        text.clear();
    }
    co_return text;
}

task<> talk(sapwood::endpoint server) {
    print_line("connecting to {}", server.to_string());
    std::array<tcp_stream, 2> streams;
    std::array<std::string, 2> names;
    for (std::size_t i = 0; i < streams.size(); ++i) {
        streams[i] = co_await tcp_stream::connect(server);
        names[i] = streams[i].local_endpoint().to_string();
    }
    for (const std::string_view message : messages) {
        for (std::size_t i = 0; i < streams.size(); ++i) {
            print_line("{}: sending \"{}\"", names[i], message);
            co_await streams[i].write_all(message);
        }
        for (std::size_t i = 0; i < streams.size(); ++i) {
            const std::string answer = co_await receive(streams[i], message.size());
            if (answer.empty()) {
                throw std::system_error(ECONNRESET, std::generic_category(),
                                        server.to_string() + " hung up");
            }
            print_line("{}: received \"{}\"", names[i], answer);
        }
    }
    for (auto& stream : streams) {
        co_await stream.close();
    }
}

} // namespace

int main(int argc, char** argv) {
    std::string host = "127.0.0.1";
    std::uint16_t port = 10000;

    CLI::App app("Talks to echo_server over two connections.");
    app.add_option("--port", port, "Where the server listens")
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--host", host, "The server's numeric address")
        ->type_name("H")
        ->capture_default_str();
    app.set_version_flag("--version", SAPWOOD_VERSION);
    app.footer("Exit status: 0 every answer came; 1 the server cannot be reached, or hung up;\n"
               "2 bad arguments.");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }

    try {
        sapwood::run(talk(sapwood::endpoint(host, port)));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "echo_client: {}\n", failure.what());
        return 1;
    }
}

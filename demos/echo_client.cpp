// Two connections to demos/echo_server at once: each message is sent on both, and then the answer
// is read on both.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

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

    command_line line("Talks to echo_server over two connections.",
                      "Exit status: 0 every answer came; 1 the server cannot be reached, or hung "
                      "up;\n2 bad arguments.");
    line.number({"--port", "Where the server listens", "N"}, port);
    line.text({"--host", "The server's numeric address", "H"}, host);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        sapwood::run(talk(sapwood::endpoint(host, port)));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "echo_client: {}\n", failure.what());
        return 1;
    }
}

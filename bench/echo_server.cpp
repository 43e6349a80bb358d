// A server for bench_echo and bench_memory, which start it: see echo_server.hpp. By hand, from a
// directory of a build: bench/bench_echo_server epoll
#include "echo_server.hpp"

#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace {

using namespace bench;

const std::map<std::string, void (*)(const echo_options&)> servers {
#if defined(ASIO_HAS_IO_URING)
    {"asio_uring", &serve_by_asio},
#else
    {"asio", &serve_by_asio}, {"epoll", &serve_by_epoll}, {"liburing", &serve_by_liburing},
        {"sapwood", &serve_by_sapwood},
#endif
};

} // namespace

int main(int argc, char** argv) {
    echo_options options;
    std::string name;
    CLI::App app{"Sends back what it gets, on a free port of 127.0.0.1, which it prints."};
    app.add_option("SERVER", name, "Which one")->required()->check(CLI::IsMember(servers));
    app.add_option("--buffer", options.buffer_bytes, "Bytes that are received at once at most")
        ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20))
        ->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        servers.at(name)(options);
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_echo_server {}: {}\n", name, error.what());
        return 1;
    }
    return 0;
}

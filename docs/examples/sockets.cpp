#include <sapwood/sapwood.hpp>

#include <cstdio>
#include <string>

using namespace std::string_view_literals;
using sapwood::task;

task<> greet(sapwood::tcp_stream stream) {
    sapwood::buffered_reader reader(stream, {.piece_bytes_max = 1024});
    std::string_view name;
    while (co_await reader.read_line(name)) {
        co_await stream.write_all("Hello, " + std::string(name) + "!\n");
    }
}

task<> visit(sapwood::endpoint server) {
    auto stream = co_await sapwood::tcp_stream::connect(server);
    co_await stream.write_all("Ada\nGrace\n"sv);
    co_await stream.shutdown_write();
    sapwood::buffered_reader reader(stream, {.piece_bytes_max = 1024});
    std::string_view line;
    while (co_await reader.read_line(line)) {
        std::printf("%s\n", std::string(line).c_str());
    }
}

task<> run() {
    sapwood::tcp_listener listener(sapwood::endpoint("127.0.0.1", 0)); // 0: a port that is free
    co_await sapwood::when_any(sapwood::serve(listener, greet), visit(listener.local_endpoint()));
}

int main() {
    sapwood::run(run());
}

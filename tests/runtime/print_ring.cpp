// Runs a loop that reads and writes a file and a pipe, and prints which ring it had.
#include <sapwood/file.hpp>
#include <sapwood/run.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <unistd.h>

namespace {

sapwood::task<bool> use_it() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        co_return false;
    }
    sapwood::file reader(ends[0]);
    sapwood::file writer(ends[1]);
    co_await writer.write_all(std::string_view("sap"));
    std::array<char, 8> bytes{};
    const std::size_t size = co_await reader.read_some(bytes);
    auto executable = co_await sapwood::file::open("/proc/self/exe");
    const auto status = co_await executable.stat();
    co_await executable.close();
    co_return std::string_view(bytes.data(), size) == "sap" && status.is_regular();
}

} // namespace

int main() {
    sapwood::event_loop loop;
    const bool works = loop.run(use_it());
    std::puts(loop.ring_report().summary.c_str());
    return works ? EXIT_SUCCESS : EXIT_FAILURE;
}

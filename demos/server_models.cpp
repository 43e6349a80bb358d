// The service of echo_server, every message answered in upper case, by six models: a process or a
// thread per connection; one thread that select, poll or epoll tell who is ready; and sapwood. A
// file in server_models/ each, to be read side by side.
#include "command_line.hpp"

#include "server_models/service.hpp"

#include <cstdint>
#include <exception>
#include <fmt/format.h>
#include <map>
#include <string>

namespace {

using namespace server_models;

const std::map<std::string, void (*)(const service&)> models{
    {"process", &serve_by_processes}, {"thread", &serve_by_threads}, {"select", &serve_by_select},
    {"poll", &serve_by_poll},         {"epoll", &serve_by_epoll},    {"sapwood", &serve_by_sapwood},
};

} // namespace

int main(int argc, char** argv) {
    service what{.host = "127.0.0.1", .port = 10000};
    std::string model = "sapwood";

    command_line line(
        "Sends back in upper case what its clients say, in the way that --model names.",
        "Ctrl-C or SIGTERM: hangs up on every client and exits with 0.\n"
        "Exit status: 0 stopped by a signal; 1 it cannot listen there; 2 bad arguments.");
    std::vector<std::string> names;
    for (const auto& [name, serve] : models) {
        names.push_back(name);
    }
    line.one_of({"--model",
                 "process or thread: one per connection; select, poll, epoll: one thread that is "
                 "told who is ready; sapwood: one thread, a coroutine per connection",
                 "M"},
                model, names);
    line.number({"--port", "0 takes one that is free and says which", "N"}, what.port);
    line.text({"--host", "The numeric address to listen on; :: or 0.0.0.0 for all", "H"},
              what.host);
    line.flag({"--quiet", "Say only where it listens, and what goes wrong"}, what.is_quiet);
    line.flag({"--unchanged", "Send the messages back as they are"}, what.is_unchanged);
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        models.at(model)(what);
        print_line("shut down");
    } catch (const std::exception& failure) {
        fmt::print(stderr, "server_models: {}\n", failure.what());
        return 1;
    }
}

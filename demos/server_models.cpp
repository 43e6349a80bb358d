// The service of echo_server, every message answered in upper case, by six models: a process or a
// thread per connection; one thread that select, poll or epoll tell who is ready; and sapwood. A
// file in server_models/ each, to be read side by side.
#include "server_models/service.hpp"

#include <CLI/CLI.hpp>
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

    CLI::App app("Sends back in upper case what its clients say, in the way that --model names.");
    app.add_option("--model", model,
                   "process or thread: one per connection; select, poll, epoll: one thread that is "
                   "told who is ready; sapwood: one thread, a coroutine per connection")
        ->type_name("M")
        ->check(CLI::IsMember(models))
        ->capture_default_str();
    app.add_option("--port", what.port, "0 takes one that is free and says which")
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--host", what.host, "The numeric address to listen on; :: or 0.0.0.0 for all")
        ->type_name("H")
        ->capture_default_str();
    app.add_flag("--quiet", what.is_quiet, "Say only where it listens, and what goes wrong");
    app.add_flag("--unchanged", what.is_unchanged, "Send the messages back as they are");
    app.set_version_flag("--version", SAPWOOD_VERSION);
    app.footer("Ctrl-C or SIGTERM: hangs up on every client and exits with 0.\n"
               "Exit status: 0 stopped by a signal; 1 it cannot listen there; 2 bad arguments.");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }

    try {
        models.at(model)(what);
        print_line("shut down");
    } catch (const std::exception& failure) {
        fmt::print(stderr, "server_models: {}\n", failure.what());
        return 1;
    }
}

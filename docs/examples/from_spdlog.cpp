// A program written against spdlog, moved.

#include <sapwood/spdlog_compat.hpp> // was <spdlog/spdlog.h> and two of <spdlog/sinks/...>

#include <exception>
#include <iostream>
#include <string>

void serve(const std::string& user) {
    auto log = spdlog::get("network");
    log->info("{} connects from {}:{}", user, "10.0.0.7", 4'711);
    log->debug("{:.1f} kB in {:>4} packets", 17.25, 12);
    if (user.find('\n') != std::string::npos) {
        SPDLOG_LOGGER_WARN(log, "a strange name");
    }
}

int main() {
    try {
        auto console = std::make_shared<spdlog::sinks::stdout_color_sink_mt>();
        auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>("logs/network.log");
        console->set_level(spdlog::level::info);
        console->set_pattern("[%n] [%^%l%$] %v");

        auto network =
            std::make_shared<spdlog::logger>("network", spdlog::sinks_init_list{console, file});
        spdlog::register_logger(network);
        network->set_level(spdlog::level::debug);
        spdlog::set_default_logger(network);

        serve("ann");
        serve("bob\n[network] [info] forged"); // stays one line
        spdlog::error("{} errors", 0);
        spdlog::shutdown(); // all is written
    } catch (const spdlog::spdlog_ex& error) {
        std::cerr << "the log cannot be opened: " << error.what() << '\n';
        return 1;
    }
}

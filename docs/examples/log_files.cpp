// A log that begins a new file when one is long enough, and keeps the newest ones.

#include <sapwood/logger.hpp>
#include <sapwood/rotating_log_sink.hpp>

#include <cstdio>
#include <filesystem>
#include <memory>

int main() {
    sapwood::rotating_log_sink_options file{.path = "app.log"};
    file.bytes_max = 10'000;
    file.daily_at = {.hour = 0, .minute = 0}; // local time
    file.keep_files = 5;
    file.make_directories = true;

    sapwood::logger_options options;
    options.outputs.push_back({.sink = std::make_unique<sapwood::rotating_log_sink>(file)});
    {
        const sapwood::logger log(std::move(options));
        for (int request = 1; request <= 2'000; ++request) {
            log.info("request {} took {} us", request, 7 * request % 100);
        }
        log.flush_blocking();
        log.rotate(); // now, for once; a signal handler may say so, too
        log.info("the first line of a file");
    }
    std::size_t older = 0;
    for (const auto& each : std::filesystem::directory_iterator(".")) {
        older += each.path() == "./app.log" ? 0 : 1;
        if (each.file_size() > 10'000) {
            std::printf("%s is too long\n", each.path().c_str());
        }
    }
    std::printf("app.log and %zu older files\n", older);
}

// One log with three outputs, of which the first keeps debug records and holds back floods.

#include <sapwood/console_log_sink.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/syslog_log_sink.hpp>

#include <chrono>
#include <memory>
#include <utility>

using namespace std::chrono_literals;

int main() {
    sapwood::logger_options options;
    options.outputs.push_back(
        {.sink = std::make_unique<sapwood::console_log_sink>(
             sapwood::console_log_sink_options{.pattern = "%^%l%$ %*%v"}), // colours on a terminal
         .recent = {.records_max = 100}, // debug records, for when an error comes
         .limits = {.each_call_site = {.records = 3, .interval = 1min}, .repeats_within = 1min}});
    options.outputs.push_back({.sink = std::make_unique<sapwood::file_log_sink>("errors.json"),
                               .form = std::make_unique<sapwood::json_layout>(),
                               .at_least = sapwood::level::error});
    options.outputs.push_back({.sink = std::make_unique<sapwood::syslog_log_sink>(),
                               .at_least = sapwood::level::critical});
    const sapwood::logger log(std::move(options));

    log.debug("asking {}", "db.example");
    log.info("started");
    for (int load = 80; load < 100; ++load) {
        log.warn("queue is {} % full", load);
    }
    for (int attempt = 0; attempt < 5; ++attempt) {
        log.warn("no answer yet");
    }
    log.error("no answer", sapwood::kv("from", "db.example"), sapwood::kv("attempts", 5));
}

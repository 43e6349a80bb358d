// spdlog_sink: the real spdlog in front of a sapwood log.
#include "support/co_test.hpp" // shows vectors

#include <sapwood/json_layout.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/run.hpp>
#include <sapwood/spdlog_sink.hpp>

#include <chrono>
#include <doctest/doctest.h>
#include <memory>
#include <spdlog/logger.h>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

struct spdlog_into_memory {
    explicit spdlog_into_memory(std::string_view pattern) : log(options(pattern)) {}

    logger_options options(std::string_view pattern) const {
        logger_options made{.threshold = level::error}; // spdlog's levels decide
        made.outputs.push_back(
            {.sink = std::make_unique<memory_log_sink>(memory),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = pattern})});
        return made;
    }

    std::shared_ptr<spdlog::logger> make(std::string name) const {
        auto made = std::make_shared<spdlog::logger>(std::move(name), sink);
        made->set_level(spdlog::level::trace);
        return made;
    }

    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(1u << 20);
    logger log;
    std::shared_ptr<spdlog_sink> sink = std::make_shared<spdlog_sink>(log);
};

} // namespace

TEST_SUITE("spdlog_sink") {

    TEST_CASE("level, logger, place and message are spdlog's") {
        const spdlog_into_memory to("%l|%n|%@|%!|%v");
        const auto log = to.make("db.pool");
        log->trace("number {}", 1);
        log->error("number {:>3}", 2);
        log->log(spdlog::source_loc{"dir/file.cpp", 7, "work"}, spdlog::level::warn, "placed");
        to.make("")->critical("no name\nno second line");
        log->flush();
        CHECK(to.memory->text() == "trace|db.pool|:||number 1\n"
                                   "error|db.pool|:||number   2\n"
                                   "warning|db.pool|file.cpp:7|work|placed\n"
                                   "critical||:||no name\\nno second line\n");
    }

    TEST_CASE("a message keeps its time and its thread, whoever brings it") {
        const spdlog_into_memory to("%Y-%m-%d %H:%M:%S.%F %t %v");
        const std::chrono::sys_days day = std::chrono::year(2001) / 2 / 3;
        spdlog::details::log_msg message(day + 4h + 5us, spdlog::source_loc{}, "app",
                                         spdlog::level::info, "old");
        message.thread_id = 4'321;
        to.sink->log(message);
        to.sink->flush();
        CHECK(to.memory->text() == "2001-02-03 04:00:00.000005000 4321 old\n");
    }

    TEST_CASE("many threads use one sink and one logger") {
        const spdlog_into_memory to("%v");
        const auto log = to.make("app");
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&, t] {
                const auto own = to.make("own" + std::to_string(t));
                for (int i = 0; i < 100; ++i) {
                    log->info("{}", i);
                    own->info("{}", i);
                }
            });
        }
        for (auto& each : threads) {
            each.join();
        }
        log->flush();
        std::istringstream in(to.memory->text());
        std::size_t lines = 0;
        for (std::string line; std::getline(in, line);) {
            ++lines;
        }
        CHECK(lines == 800);
    }

    TEST_CASE("a flush on the loop that writes the log does not wait for itself") {
        const auto memory = std::make_shared<log_memory>(1u << 20);
        sapwood::run([&]() -> task<> {
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<memory_log_sink>(memory),
                 .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
            const logger log = co_await logger::on_this_loop(options);
            spdlog::logger front("app", std::make_shared<spdlog_sink>(log));
            front.flush_on(spdlog::level::info);
            front.info("from the loop");
            co_await log.flush();
            CHECK(memory->text() == "from the loop\n");
        });
    }

    TEST_CASE("the place in the source is in JSON, too, and what is the log's own is not") {
        const auto memory = std::make_shared<log_memory>(1u << 20);
        {
            logger_options options;
            options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory),
                                       .form = std::make_unique<json_layout>()});
            const logger log(std::move(options));
            spdlog_sink(log).log(spdlog::details::log_msg(std::chrono::system_clock::time_point(1s),
                                                          spdlog::source_loc{"a.cpp", 3, "f"},
                                                          "app", spdlog::level::info, "text"));
        }
        const std::string line = memory->text();
        CHECK(line.starts_with("{\"time\":\"1970-01-01T00:00:01.000000000Z\",\"level\":\"info\","));
        CHECK(line.ends_with("\"logger\":\"app\",\"message\":\"text\",\"location\":\"a.cpp:3\","
                             "\"function\":\"f\"}\n"));
    }
}

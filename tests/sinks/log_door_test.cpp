// log_door: receipts for other threads and other loops, also when the log ends meanwhile.
#include "support/temporary_directory.hpp"

#include <sapwood/log_door.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using sapwood::level;
using sapwood::log_door;
using sapwood::lsn;
using sapwood::pipeline;
using sapwood::record;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::temporary_directory;

task<pipeline> opened(const std::string& path) {
    sapwood::pipeline_options options;
    options.durable = sapwood::durability::batch();
    options.queue_records = 8;
    const sapwood::file_sink_options file{.path = path};
    co_return co_await pipeline::open(file, options);
}

/// Calls `body(door)` on a thread while the log's loop runs.
task<> with_thread(const std::string& path, std::function<void(log_door)> body) {
    pipeline log = co_await opened(path);
    const log_door door = log.door();
    const auto call = [&body, &door] { body(door); };
    co_await sapwood::run_blocking(call);
    co_await log.close();
}

bool has(const std::string& path, std::string_view text) {
    return contents_of(path).find(text) != std::string::npos;
}

std::string failure_of(const std::function<void()>& attempt) {
    try {
        attempt();
    } catch (const std::system_error& error) {
        return error.code().message();
    }
    return "";
}

task<> append_from_loop(log_door door, std::string path, int count) {
    for (int i = 0; i < count; ++i) {
        record item(level::info, 2, fmt::format("from a loop {}", i));
        const lsn place = co_await door.append_durable(std::move(item));
        CHECK(place > lsn::none);
        CHECK(has(path, fmt::format("from a loop {}\n", i)));
        co_await door.written(place);
        co_await door.durable(place);
    }
}

} // namespace

TEST_SUITE("log_door") {
    TEST_CASE("a thread is blocked until its record has got as far as it asked for") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        sapwood::run(with_thread(path, [&](log_door door) {
            const lsn first = door.append(record(level::info, 1, "one")).wait();
            CHECK(first == lsn{1});
            CHECK(door.written(first).wait() == first);
            CHECK(has(path, "one\n"));
            CHECK(door.append_written(record(level::info, 1, "two")).wait() == lsn{2});
            CHECK(has(path, "two\n"));
            CHECK(door.append_durable(record(level::info, 1, "three")).wait() == lsn{3});
            CHECK(door.durable(lsn{2}).wait() == lsn{2});
        }));
    }

    TEST_CASE("many threads that wait each for their own records get all of them, once") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        constexpr int threads = 8;
        constexpr int each = 50;
        sapwood::run(with_thread(path, [&](log_door door) {
            std::vector<std::vector<lsn>> places(threads);
            {
                std::vector<std::jthread> all;
                for (int i = 0; i < threads; ++i) {
                    all.emplace_back([&, i] {
                        for (int k = 0; k < each; ++k) {
                            record item(level::info, static_cast<std::uint32_t>(i), "text");
                            places[static_cast<std::size_t>(i)].push_back(
                                door.append_durable(std::move(item)).wait());
                        }
                    });
                }
            }
            std::set<lsn> once;
            for (const auto& of_thread : places) {
                CHECK(std::is_sorted(of_thread.begin(), of_thread.end()));
                once.insert(of_thread.begin(), of_thread.end());
            }
            CHECK(once.size() == threads * each);
            CHECK(*once.rbegin() == lsn{threads * each});
        }));
    }

    TEST_CASE("coroutines of another loop wait without blocking it") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        sapwood::run(with_thread(path, [&](log_door door) {
            sapwood::run([](log_door through, std::string file) -> task<> {
                co_await append_from_loop(through, file, 20);
            }(door, path));
        }));
    }

    TEST_CASE("a coroutine of the log's own loop may use it, too") {
        const temporary_directory folder;
        sapwood::run([](std::string path) -> task<> {
            pipeline log = co_await opened(path);
            co_await append_from_loop(log.door(), path, 3);
            co_await log.close();
        }(folder / "log"));
    }

    TEST_CASE("when the log is over, threads are refused, those that wait as well") {
        const temporary_directory folder;
        std::optional<log_door> door;
        std::string waited;
        std::jthread waiting;
        sapwood::run([](std::string path, std::optional<log_door>& out, std::jthread& thread,
                        std::string& how) -> task<> {
            pipeline log = co_await opened(path);
            out = log.door();
            thread = std::jthread(
                [&out, &how] { how = failure_of([&] { (void)out->durable(lsn{1000}).wait(); }); });
            co_await log.close();
        }(folder / "log", door, waiting, waited));
        waiting.join();
        CHECK(waited == "the channel is closed");
        CHECK(failure_of([&] {
                  (void)door->append_durable(record(level::info, 1, "late")).wait();
              }) == "the channel is closed");
        CHECK(failure_of([&] { (void)door->durable(lsn{1}).wait(); }) == "the channel is closed");
        CHECK(contents_of(folder / "log").empty());
    }

    TEST_CASE("a loop that ends while requests come finishes each of them") {
        const temporary_directory folder;
        for (int round = 0; round < 20; ++round) {
            std::vector<std::jthread> threads;
            std::atomic<int> over = 0;
            std::optional<log_door> door;
            sapwood::run([](std::string path, std::optional<log_door>& out,
                            std::vector<std::jthread>& all, std::atomic<int>& count) -> task<> {
                pipeline log = co_await opened(path);
                out = log.door();
                for (int i = 0; i < 3; ++i) {
                    all.emplace_back([&out, &count] {
                        for (int k = 0; k < 20; ++k) {
                            (void)failure_of([&] {
                                (void)out->append_durable(record(level::info, 1, "text")).wait();
                            });
                            ++count;
                        }
                    });
                }
                (void)co_await out->append(record(level::info, 1, "main"));
            }(folder / fmt::format("log{}", round), door, threads, over));
            threads.clear();
            CHECK(over == 60);
        }
    }
}

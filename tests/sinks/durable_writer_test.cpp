// durable_writer, by way of the sinks that use it and of logger::durable(): on simulated machines,
// where it is known what the disk has.
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/file.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <liburing.h>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::put;
using test::temporary_directory;

constexpr std::string_view path = "/log";

logger_options options_of(std::unique_ptr<log_sink> sink) {
    logger_options options;
    options.crash_handler = false;
    options.outputs.push_back(
        {.sink = std::move(sink),
         .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
    return options;
}

std::unique_ptr<log_sink> durable_file(durability level = durability::batch(),
                                       std::string where = std::string(path)) {
    file_log_sink_options options{.path = std::move(where)};
    options.durable = level;
    return std::make_unique<file_log_sink>(options);
}

/// The whole lines of a text, each behind its number: `3 message`.
std::vector<std::string> lines_in(const std::optional<std::string>& text) {
    std::istringstream stream(text.value_or(""));
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) {
        const auto found = numbered_line::parse(line);
        CHECK(found.is == numbered_line::state::whole);
        lines.push_back(
            fmt::format("{} {}", to_number(found.place), line.substr(numbered_line::head_bytes)));
    }
    return lines;
}

using strings = std::vector<std::string>;

/// What stands behind the number of each line: a mark, or a space.
std::string marks_in(const std::optional<std::string>& text) {
    std::istringstream stream(text.value_or(""));
    std::string marks;
    for (std::string line; std::getline(stream, line);) {
        marks += line[numbered_line::mark_at];
    }
    return marks;
}

const std::string childs_line = test::numbered(0, "child's");

/// A disk whose first `count` syncs fail, and that has no writes that are synced.
std::function<std::optional<std::int32_t>(const io_uring_sqe&)> failing_syncs(int count) {
    return [count](const io_uring_sqe& sqe) mutable -> std::optional<std::int32_t> {
        if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
            return -EOPNOTSUPP;
        }
        return sqe.opcode == IORING_OP_FSYNC && count-- > 0 ? std::optional(-EIO) : std::nullopt;
    };
}

/// Plays `body(world, log)` with a log of one output on a machine of its own.
void play(std::unique_ptr<log_sink> sink,
          const std::function<task<>(sim_world&, const logger&)>& body) {
    sim_world world({.seed = 1});
    const auto main = [&]() -> task<> {
        logger_options options = options_of(std::move(sink));
        const logger log = co_await logger::on_this_loop(options);
        co_await body(world, log);
        world.script({});
        world.heal();
        co_await log.close();
    };
    CHECK(world.run(main()));
}

/// What a wait for durability throws; nothing where all is on disk.
task<std::error_code> outcome_of_durable(const logger& log) {
    std::error_code how;
    try {
        co_await log.durable();
    } catch (const std::system_error& error) {
        how = error.code();
    }
    co_return how;
}

} // namespace

TEST_SUITE("durable_writer") {
    // --- what is promised ---

    TEST_CASE("when durable() returns the lines are on disk, numbered, and marked by batches") {
        play(durable_file(), [](sim_world& world, const logger& log) -> task<> {
            log.info("one");
            log.info("two");
            co_await log.durable();
            CHECK(lines_in(world.durable_contents(path)) == strings{"1 one", "2 two"});
            log.info("three");
            co_await log.durable();
            CHECK(lines_in(world.durable_contents(path)) == strings{"1 one", "2 two", "3 three"});
            CHECK(marks_in(world.contents(path)) == "| |");
        });
    }

    TEST_CASE("with an interval a flush is no sync, durable() is one, and time is") {
        play(durable_file(durability::interval(10ms)),
             [](sim_world& world, const logger& log) -> task<> {
                 log.info("one");
                 co_await log.flush();
                 CHECK(lines_in(world.contents(path)) == strings{"1 one"});
                 CHECK(world.durable_contents(path) == "");
                 co_await log.durable();
                 CHECK(lines_in(world.durable_contents(path)) == strings{"1 one"});
                 log.info("two");
                 co_await log.flush();
                 co_await sleep_for(11ms);
                 CHECK(lines_in(world.durable_contents(path)) == strings{"1 one", "2 two"});
             });
    }

    TEST_CASE("with an interval what is not synced is bounded") {
        file_log_sink_options options{.path = std::string(path)};
        options.durable = durability::interval(1h);
        options.unsynced_bytes_max = 200;
        play(std::make_unique<file_log_sink>(options),
             [](sim_world& world, const logger& log) -> task<> {
                 log.info("a line");
                 co_await log.flush();
                 CHECK(world.durable_contents(path) == "");
                 log.text(level::info, std::string(200, 'x'));
                 co_await log.flush();
                 CHECK(lines_in(world.durable_contents(path)).size() == 2);
             });
    }

    TEST_CASE("the end of a log has everything on disk, whatever the interval") {
        sim_world world({.seed = 1});
        const auto main = [&]() -> task<> {
            logger_options options = options_of(durable_file(durability::interval(1h)));
            const logger log = co_await logger::on_this_loop(options);
            log.info("one");
            co_await log.close();
            CHECK(lines_in(world.durable_contents(path)) == strings{"1 one"});
        };
        CHECK(world.run(main()));
    }

    TEST_CASE("after a restart the numbers go on") {
        sim_world world({.seed = 1});
        const auto life = [](const char* text) -> task<> {
            logger_options options = options_of(durable_file());
            const logger log = co_await logger::on_this_loop(options);
            log.text(level::info, text);
            co_await log.close();
        };
        CHECK(world.run(life("one")));
        CHECK(world.run(life("two")));
        CHECK(lines_in(world.contents(path)) == strings{"1 one", "2 two"});
    }

    TEST_CASE("threads that wait are answered, and the file is whole to who verifies it") {
        const temporary_directory directory;
        logger_options options{.path = directory / "log"};
        options.durable = durability::batch();
        {
            const logger log(std::move(options));
            std::vector<std::thread> threads;
            for (int number = 0; number < 4; ++number) {
                threads.emplace_back([&log, number] {
                    for (int i = 0; i < 10; ++i) {
                        log.info("thread {} record {}", number, i);
                        log.durable_blocking();
                    }
                });
            }
            for (auto& each : threads) {
                each.join();
            }
        }
        log_verifier verifier;
        const auto found = verifier.verify(log_verifier::segments_of(directory / "log"));
        CHECK(found.is_whole());
        CHECK(found.lines == 40);
        CHECK(found.producers.size() == 4);
    }

    TEST_CASE("lines may be without numbers, as JSON has to be, and are as durable") {
        file_log_sink_options options{.path = std::string(path)};
        options.durable = durability::batch();
        options.numbered = false;
        play(std::make_unique<file_log_sink>(options),
             [](sim_world& world, const logger& log) -> task<> {
                 world.script(failing_syncs(1));
                 log.info("one");
                 co_await log.durable();
                 CHECK(world.durable_contents(path) == "one\n");
                 CHECK(world.contents("/log.0000000000000001") == "one\n");
             });
    }

    TEST_CASE("who waits where nothing is to be durable, or when the log has ended, is told") {
        play(std::make_unique<null_log_sink>(), [](sim_world&, const logger& log) -> task<> {
            CHECK(co_await outcome_of_durable(log) == std::errc::operation_not_supported);
            std::string said;
            try {
                co_await log.durable();
            } catch (const std::system_error& error) {
                said = error.what();
            }
            CHECK(said.find("set logger_options::durable, or") != std::string::npos);
        });
        play(durable_file(), [](sim_world&, const logger& log) -> task<> {
            co_await log.close();
            CHECK(co_await outcome_of_durable(log) == errc::closed);
        });
    }

    TEST_CASE("an option that makes no sense is named") {
        file_log_sink_options options{.path = std::string(path)};
        options.unsynced_bytes_max = 9u << 20;
        CHECK_THROWS_WITH_AS(file_log_sink{options},
                             "file_log_sink_options: unsynced_bytes_max must be at most 8 MiB",
                             std::invalid_argument);
    }

    // --- disks that fail ---

    TEST_CASE("after a failed sync the lines go into a new segment before durable() returns") {
        for (const auto level : {durability::batch(), durability::interval(1h)}) {
            play(durable_file(level), [](sim_world& world, const logger& log) -> task<> {
                log.info("one");
                co_await log.durable();
                world.script(failing_syncs(1));
                log.info("two");
                co_await log.flush(); // with an interval that is no sync
                log.info("three");
                co_await log.durable();
                const auto found = lines_in(world.durable_contents(path));
                CHECK(found.back() == "3 three");
                CHECK(std::count(found.begin(), found.end(), "2 two") == 1);
                CHECK(lines_in(world.contents("/log.0000000000000002")).front() == "1 one");
            });
        }
    }

    TEST_CASE("a sync that fails again and again is never believed, and acknowledged in the end") {
        play(durable_file(), [](sim_world& world, const logger& log) -> task<> {
            world.script(failing_syncs(5));
            log.info("one");
            int failures = 0;
            while (co_await outcome_of_durable(log)) {
                ++failures;
                CHECK(world.durable_contents(path).value_or("").empty());
                co_await sleep_for(10ms);
            }
            CHECK(failures > 1);
            CHECK(lines_in(world.durable_contents(path)) == strings{"1 one"});
        });
    }

    TEST_CASE(
        "a full disk: nothing is acknowledged, and it goes on by itself when there is space") {
        play(durable_file(), [](sim_world& world, const logger& log) -> task<> {
            log.info("one");
            co_await log.durable();
            world.add({.to = 500ms, .error = ENOSPC, .bytes_left = 40});
            log.info("two");
            log.info("three");
            CHECK(!log.health().is_degraded());
            CHECK(co_await outcome_of_durable(log));
            CHECK(log.stats().outputs[0].is_failing);
            CHECK(log.health().reason == std::errc::no_space_on_device);
            CHECK(log.health().text == "log file /log: cannot write /log: No space left on device");
            co_await sleep_for(3s);
            CHECK(!log.stats().outputs[0].is_failing);
            CHECK(!log.health().is_degraded());
            CHECK(lines_in(world.durable_contents(path)) == strings{"1 one", "2 two", "3 three"});
            co_await log.durable();
        });
    }

    TEST_CASE("what had to be dropped meanwhile is not acknowledged, whatever other outputs do") {
        sim_world world({.seed = 1});
        const auto main = [&]() -> task<> {
            logger_options options = options_of(durable_file());
            options.outputs[0].batch_bytes = 1000;
            options.outputs.push_back({.sink = std::make_unique<null_log_sink>()});
            options.ring_bytes = 4096;
            const logger log = co_await logger::on_this_loop(options);
            world.add({.to = 500ms, .error = ENOSPC});
            while (log.stats().dropped() == 0) {
                log.text(level::info, std::string(100, 'x'));
                co_await sleep_for(1ms);
            }
            CHECK(log.stats().outputs[0].lost == 0);
            CHECK(co_await outcome_of_durable(log) == errc::lost);
            co_await sleep_for(3s);
            log.info("kept");
            CHECK(!(co_await outcome_of_durable(log)));
            const std::string text = world.durable_contents(path).value_or("");
            CHECK(text.find("is missing here") != text.npos);
            const auto stats = log.stats();
            CHECK(stats.accepted == stats.dropped() + stats.taken + stats.in_rings);
            co_await log.close();
        };
        CHECK(world.run(main()));
        CHECK(!world.has_hung());
    }

    TEST_CASE("what was dropped is told although the wait that met it was given up") {
        sim_world world({.seed = 1});
        const auto main = [&]() -> task<> {
            logger_options options = options_of(durable_file());
            options.ring_bytes = 4096;
            const logger log = co_await logger::on_this_loop(options);
            world.set_faults({.hang = 1});
            while (log.stats().dropped() == 0) {
                log.text(level::info, std::string(100, 'x'));
            }
            const auto given_up = co_await as_result(timeout(100ms, log.durable()));
            CHECK(given_up.error() == std::errc::timed_out);
            world.heal();
            CHECK(co_await outcome_of_durable(log) == errc::lost);
            co_await sleep_for(1min); // it is tried again
            CHECK(!(co_await outcome_of_durable(log)));
            co_await log.close();
        };
        CHECK(world.run(main()));
        CHECK(!world.has_hung());
    }

    // --- other files ---

    TEST_CASE("rotated files are on disk, with every line once, and numbers go on") {
        rotating_log_sink_options options{.path = std::string(path)};
        options.bytes_max = 200;
        options.durable = durability::batch();
        play(std::make_unique<rotating_log_sink>(options),
             [](sim_world& world, const logger& log) -> task<> {
                 strings expected;
                 for (int i = 1; i <= 20; ++i) {
                     log.info("record {}", i);
                     expected.push_back(fmt::format("{} record {}", i, i));
                     co_await log.durable();
                 }
                 strings found;
                 auto files = world.names();
                 CHECK(files.size() > 3);
                 std::rotate(files.begin(), files.begin() + 1, files.end()); // the log is the last
                 for (const auto& each : files) {
                     const auto text = world.durable_contents("/" + each);
                     REQUIRE(text.has_value());
                     CHECK(text->size() <= 200);
                     const auto lines = lines_in(text);
                     found.insert(found.end(), lines.begin(), lines.end());
                 }
                 CHECK(found == expected);
             });
    }

    TEST_CASE("a rotation that is asked for begins a file with a line that tells of it") {
        rotating_log_sink_options options{.path = std::string(path)};
        options.durable = durability::batch();
        play(std::make_unique<rotating_log_sink>(options),
             [](sim_world& world, const logger& log) -> task<> {
                 log.info("one");
                 co_await log.durable();
                 log.rotate();
                 co_await log.flush();
                 CHECK(lines_in(world.durable_contents(path)) ==
                       strings{"2 /log begins anew, as was asked for \\(log)"});
                 CHECK(world.names().size() == 2);
             });
    }

    TEST_CASE("a file that is taken away: what was not synced comes again in the new one") {
        play(durable_file(durability::interval(1h)),
             [](sim_world& world, const logger& log) -> task<> {
                 log.info("one");
                 co_await log.flush();
                 co_await remove_file(std::string(path));
                 log.reopen();
                 co_await log.flush();
                 log.info("two");
                 co_await log.durable();
                 const auto found = lines_in(world.durable_contents(path));
                 CHECK(found.front() == "1 one");
                 CHECK(found.back() == "2 two");
             });
    }

    TEST_CASE(
        "a file that takes the log's name while a segment is made is set aside, and told of") {
        for (const bool rotates : {false, true}) {
            CAPTURE(rotates);
            std::unique_ptr<log_sink> sink = durable_file();
            if (rotates) {
                rotating_log_sink_options options{.path = std::string(path)};
                options.durable = durability::batch();
                sink = std::make_unique<rotating_log_sink>(options);
            }
            play(std::move(sink), [rotates](sim_world& world, const logger& log) -> task<> {
                log.info("one");
                co_await log.durable();
                int renames = 0;
                int syncs = 0;
                world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    // The first takes the name from what was the log, the second gives it away.
                    if (sqe.opcode == IORING_OP_RENAMEAT && ++renames == 2) {
                        world.put(path, "somebody's\n");
                    }
                    if (!rotates && sqe.opcode == IORING_OP_WRITE &&
                        (sqe.rw_flags & RWF_DSYNC) != 0) {
                        return -EOPNOTSUPP;
                    }
                    const bool fails = !rotates && sqe.opcode == IORING_OP_FSYNC && syncs++ == 0;
                    return fails ? std::optional(-EIO) : std::nullopt;
                });
                if (rotates) {
                    log.rotate();
                    co_await log.flush();
                }
                log.info("two");
                CHECK(!(co_await outcome_of_durable(log)));
                co_await sleep_for(1s);
                log.info("three");
                co_await log.durable();
                // What was the log has that name already, where it was not rotated.
                const std::string aside =
                    rotates ? "/log.0000000000000002" : "/log.0000000000000002-2";
                const auto found = lines_in(world.durable_contents(path));
                const auto told = [&aside](const std::string& line) {
                    return line.ends_with(" another file took the name /log meanwhile: it is " +
                                          aside + " now \\(log)");
                };
                CHECK(std::count_if(found.begin(), found.end(), told) == 1);
                CHECK(found.back().ends_with(" three"));
                CHECK(world.contents(aside) == "somebody's\n");
                CHECK(world.names().size() == 3);
            });
        }
    }

    // --- the process ---

    TEST_CASE("lines of others above a batch are on disk before it, and it is marked") {
        for (const bool looks : {false, true}) {
            CAPTURE(looks);
            play(durable_file(), [looks](sim_world& world, const logger& log) -> task<> {
                log.info("one");
                co_await log.durable();
                file other = co_await file::open(std::string(path), {.flags = O_WRONLY | O_APPEND});
                co_await other.write_all(std::string_view(childs_line));
                co_await other.close();
                if (looks) { // at the name, and so at the size
                    log.reopen();
                    co_await log.flush();
                }
                log.info("two");
                co_await log.durable();
                CHECK(lines_in(world.durable_contents(path)) ==
                      strings{"1 one", "0 child's", "2 two"});
                log.info("three");
                co_await log.durable();
                CHECK(marks_in(world.contents(path)) == "| ||");
            });
        }
    }

    TEST_CASE(
        "what others append while a batch is on its way is synced before it is acknowledged") {
        const temporary_directory directory;
        const std::string file = directory / "log";
        test::loop_with_writes loop{test::perform};
        int syncs = 0;
        loop.run([](std::string where, test::loop_with_writes& on, int& synced) -> task<> {
            const auto sink = durable_file(durability::batch(), where);
            co_await sink->open();
            bool appends = true;
            on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                synced += sqe.opcode == IORING_OP_FSYNC ? 1 : 0;
                if (sqe.opcode == IORING_OP_WRITE && std::exchange(appends, false)) {
                    std::ofstream(where, std::ios::app) << childs_line;
                }
                return test::perform(sqe);
            };
            co_await put(*sink, "one\n");
            CHECK(synced == 1);
            co_await put(*sink, "two\n"); // what is below it is looked at, and synced
            co_await put(*sink, "three\n");
            co_await sink->close();
        }(file, loop, syncs));
        CHECK(lines_in(contents_of(file)) == strings{"0 child's", "1 one", "2 two", "3 three"});
        CHECK(syncs == 2);
    }

    TEST_CASE("half a line of somebody who was killed is ended before the next batch") {
        play(durable_file(), [](sim_world& world, const logger& log) -> task<> {
            log.info("one");
            co_await log.durable();
            file other = co_await file::open(std::string(path), {.flags = O_WRONLY | O_APPEND});
            co_await other.write_all(std::string_view("half"));
            co_await other.close();
            log.info("two");
            co_await log.durable();
            const std::string found = world.durable_contents(path).value_or("");
            const auto half = found.find("half\n");
            REQUIRE(half != found.npos);
            CHECK(lines_in(found.substr(0, half)) == strings{"1 one"});
            CHECK(lines_in(found.substr(half + 5)) == strings{"2 two"});
        });
    }

    CO_TEST_CASE(
        "a handler of crashes goes on with the numbers, and writes what is on its way once") {
        const temporary_directory directory;
        const auto file = directory / "log";
        const auto sink = durable_file(durability::batch(), file);
        co_await sink->open();
        co_await put(*sink, "one\n");
        const std::string long_line(10'000, 'x');
        const std::string lines = "two\n" + long_line + "\n";
        CHECK(sink->write_in_crash(lines));
        CHECK(lines_in(contents_of(file)) == strings{"1 one", "2 two", "3 " + long_line});
        co_await put(*sink, "four\n"); // it has survived
        CHECK(lines_in(contents_of(file)).back() == "4 four");
        co_await sink->close();
    }
}

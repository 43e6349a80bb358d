// A pipeline's account of its records: what became of each, as numbers; who is told of a loss; and
// what an open has taken out of the file.
#include "support/co_test.hpp"
#include "support/numbered_lines.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

constexpr std::string_view path = "/log";

pipeline_options durable(when_refused refused = when_refused::automatic) {
    pipeline_options options;
    options.durable = durability::batch();
    options.refused = refused;
    return options;
}

task<pipeline> opened(const pipeline_options& options, std::string_view where = path) {
    const file_sink_options file{.path = where, .make_directories = true};
    pipeline log = co_await pipeline::open(file, options);
    log.on_loss([](const std::string&) {});
    co_return log;
}

record text_of(std::string_view text) {
    return record(level::info, 1, text);
}

task<lsn> append(pipeline& log, std::string_view text) {
    record item = text_of(text);
    co_return co_await log.append(std::move(item));
}

task<std::error_code> end_of_flush(pipeline& log) {
    std::error_code end;
    try {
        co_await log.flush();
    } catch (const std::system_error& error) {
        end = error.code();
    }
    co_return end;
}

struct account {
    std::uint64_t accepted;
    std::uint64_t durable;
    std::uint64_t written_only;
    std::uint64_t lost;
    std::uint64_t in_flight;
    std::uint64_t refused;

    friend bool operator==(const account&, const account&) = default;
};

account account_of(const pipeline& log) {
    const pipeline_counts counts = log.counts();
    return {counts.records_accepted, counts.records_durable,   counts.records_written_only,
            counts.records_lost,     counts.records_in_flight, counts.records_refused};
}

void run(sim_world& world, task<> (*test)(sim_world&)) {
    CHECK(world.run(test(world)));
}

} // namespace

TEST_SUITE("pipeline_account") {
    TEST_CASE("records are in flight, then written only, then durable, also after a restart") {
        sim_world world({.seed = 1});
        for (int time = 0; time < 2; ++time) {
            run(world, [](sim_world&) -> task<> {
                pipeline_options options = durable();
                options.durable = durability::interval(10ms);
                pipeline log = co_await opened(options);
                CHECK(account_of(log) == account{0, 0, 0, 0, 0, 0});
                (void)co_await append(log, "one");
                const lsn two = co_await append(log, "two");
                CHECK(account_of(log) == account{2, 0, 0, 0, 2, 0});
                co_await log.written(two);
                CHECK(account_of(log) == account{2, 0, 2, 0, 0, 0});
                (void)co_await append(log, "three");
                CHECK(account_of(log) == account{3, 0, 2, 0, 1, 0});
                co_await log.durable(two);
                CHECK(log.counts().records_durable >= 2);
                co_await log.close();
                CHECK(account_of(log) == account{3, 3, 0, 0, 0, 0});
            });
        }
    }

    TEST_CASE("what is dropped is lost, and neither durable nor in flight; its line is no record") {
        sim_world world({.seed = 1});
        run(world, [](sim_world& on) -> task<> {
            pipeline_options options = durable(when_refused::drop);
            options.batch_bytes = 100;
            pipeline log = co_await opened(options);
            co_await log.durable(co_await append(log, "one"));
            on.add({.to = 1h, .error = ENOSPC});
            for (int i = 0; i < 20; ++i) {
                (void)co_await append(log, "of a full disk");
                co_await sleep_for(1ms);
            }
            const account full = account_of(log);
            CHECK(full.accepted == 21);
            CHECK(full.durable == 1);
            CHECK(full.lost > 0);
            CHECK(full.in_flight == 20 - full.lost);
            on.heal();
            while (log.health().is_degraded()) {
                co_await sleep_for(1ms);
            }
            const lsn last = co_await append(log, "last");
            co_await log.durable(last);
            const std::uint64_t lost = log.counts().records_lost;
            CHECK(account_of(log) == account{22, 22 - lost, 0, lost, 0, 0});
            CHECK(log.counts().durable == last); // a number, with those of the lost
            co_await log.close();
            CHECK(account_of(log) == account{22, 22 - lost, 0, lost, 0, 0});
        });
    }

    TEST_CASE("a log that is given up: what was kept of its last write has got there") {
        for (const bool is_durable : {true, false}) {
            CAPTURE(is_durable);
            sim_world world({.seed = 1});
            CHECK(world.run([](sim_world& on, bool syncs) -> task<> {
                pipeline_options options = durable(when_refused::end);
                options.durable = syncs ? durability::batch() : durability::none();
                options.form = layout::numbered;
                const file_sink_options file{.path = path, .numbered = true};
                pipeline log(co_await file_sink::open(file), options);
                log.on_loss([](const std::string&) {});
                on.add({.to = 1h, .error = ENOSPC, .bytes_left = 180});
                for (int i = 0; i < 4; ++i) {
                    (void)co_await append(log, "about seventy bytes");
                }
                CHECK(co_await end_of_flush(log) == std::errc::no_space_on_device);
                CHECK(account_of(log) == account{4, 0, 2, 2, 0, 0});
                CHECK(log.counts().written == lsn{2});
                co_await log.written(lsn{2});
                record late = text_of("refused");
                const auto refused = co_await as_result(log.append(std::move(late)));
                CHECK(!refused);
                CHECK(log.counts().records_refused == 1);
            }(world, is_durable)));
        }
    }

    TEST_CASE("what append refuses is counted, whether it waited or not") {
        sim_world world({.seed = 1});
        run(world, [](sim_world& on) -> task<> {
            pipeline_options options = durable(when_refused::refuse);
            options.batch_bytes = 1;
            options.queue_records = 1;
            pipeline log = co_await opened(options);
            on.add({.to = 1h, .error = ENOSPC});
            std::uint64_t refused = 0;
            std::uint64_t accepted = 0;
            for (int i = 0; i < 10; ++i) {
                try {
                    (void)co_await append(log, "text");
                    ++accepted;
                } catch (const std::system_error&) {
                    ++refused;
                }
                co_await sleep_for(1ms);
            }
            CHECK(refused > 0);
            CHECK(account_of(log) == account{accepted, 0, 0, 0, accepted, refused});
            on.heal();
            co_await log.close();
            CHECK(account_of(log) == account{accepted, accepted, 0, 0, 0, refused});
            record late = text_of("late");
            CHECK_THROWS_AS((void)log.try_append(std::move(late)), std::system_error);
            CHECK(log.counts().records_refused == refused + 1);
        });
    }

    TEST_CASE("a flush says that records were dropped, once, to all who wait at that time") {
        sim_world world({.seed = 1});
        run(world, [](sim_world& on) -> task<> {
            pipeline_options options = durable(when_refused::drop);
            options.batch_bytes = 100;
            pipeline log = co_await opened(options);
            CHECK(!co_await end_of_flush(log));
            on.add({.to = 1h, .error = ENOSPC});
            for (int i = 0; i < 20; ++i) {
                record item = text_of("of a full disk");
                (void)log.try_append(std::move(item));
                co_await sleep_for(1ms);
            }
            CHECK(log.counts().records_lost > 0);
            on.heal();
            CHECK(co_await end_of_flush(log) == errc::lost);
            CHECK(log.counts().records_in_flight == 0);
            CHECK(!co_await end_of_flush(log));
            (void)co_await append(log, "after it");
            CHECK(!co_await end_of_flush(log));
            co_await log.close();
        });
    }

    TEST_CASE("a torn end that an open has moved aside is told in a line, and counted") {
        const std::string one = test::numbered(1, "2026-11-21 22:39:56.123 1 info one");
        sim_world world({.seed = 1});
        world.put(path, one + "torn");
        run(world, [](sim_world& on) -> task<> {
            pipeline log = co_await opened(durable());
            CHECK(log.counts().torn_bytes == 4);
            co_await log.durable(co_await append(log, "two"));
            const std::string text = on.durable_contents(path).value_or("");
            const auto told = text.find("the last 4 bytes of /log, left by an earlier writer, were "
                                        "no whole line and were moved to /log.torn \\(log)\n");
            CHECK(told != text.npos);
            CHECK(told < text.find(" two\n"));
            co_await log.close();
        });
        run(world, [](sim_world& on) -> task<> {
            pipeline log = co_await opened(durable());
            CHECK(log.counts().torn_bytes == 0);
            co_await log.durable(co_await append(log, "three"));
            const std::string text = on.contents(path).value_or("");
            CHECK(text.find("the last 4 bytes") == text.rfind("the last 4 bytes"));
            co_await log.close();
        });
    }

    TEST_CASE("a durable record is in a file whose name, and directories, are durable") {
        for (std::uint64_t seed = 1; seed <= 40; ++seed) {
            CAPTURE(seed);
            sim_world world({.seed = seed});
            CHECK(world.run([]() -> task<> {
                const file_sink_options file{
                    .path = "/a/b/log", .make_directories = true, .sync_directory = false};
                pipeline log = co_await pipeline::open(file, durable());
                co_await log.durable(co_await append(log, "one"));
            }()));
            world.crash(sim_crash::power_cut);
            CHECK(world.contents("/a/b/log").value_or("").find(" one\n") != std::string::npos);
        }
    }

    TEST_CASE("a directory that a process has made before it was killed is durable, too") {
        enum class made { first, both, file };
        for (const made last : {made::first, made::both, made::file}) {
            CAPTURE(static_cast<int>(last));
            for (std::uint64_t seed = 1; seed <= 40; ++seed) {
                CAPTURE(seed);
                sim_world world({.seed = seed});
                CHECK(world.run([](made its_last) -> task<> {
                    co_await make_directory("/a"); // and no sync of /
                    if (its_last != made::first) {
                        directory root = co_await directory::open("/");
                        co_await root.sync();
                        co_await root.close();
                        co_await make_directory("/a/b"); // and no sync of /a
                    }
                    if (its_last == made::file) {
                        file log = co_await file::open(
                            "/a/b/log", {.flags = O_WRONLY | O_CREAT | O_APPEND, .mode = 0600});
                        co_await log.close();
                    }
                }(last)));
                CHECK(world.run([]() -> task<> {
                    pipeline log = co_await opened(durable(), "/a/b/log");
                    co_await log.durable(co_await append(log, "one"));
                }()));
                world.crash(sim_crash::power_cut);
                CHECK(world.contents("/a/b/log").value_or("").find(" one\n") != std::string::npos);
            }
        }
    }

    TEST_CASE("no durability without a name that is durable") {
        sim_world world({.seed = 1});
        run(world, [](sim_world&) -> task<> {
            const file_sink_options file{.path = path, .sync_directory = false, .numbered = true};
            std::string why;
            try {
                const pipeline log(co_await file_sink::open(file), durable());
            } catch (const std::invalid_argument& error) {
                why = error.what();
            }
            CHECK(why.find("file_sink_options::sync_directory") != why.npos);
        });
    }

    TEST_CASE("a mark of an attempt that failed says no more than is true when it is written") {
        sim_world world({.seed = 1});
        run(world, [](sim_world& on) -> task<> {
            pipeline log = co_await opened(durable());
            co_await log.durable(co_await append(log, "one"));
            on.add({.to = 1h, .error = ENOSPC});
            const lsn two = co_await append(log, "two");
            co_await sleep_for(1ms);
            CHECK(log.health().is_degraded()); // it was marked, and not written
            on.heal();
            {
                file other = co_await file::open(std::string(path), {.flags = O_WRONLY | O_APPEND});
                co_await other.write_all(std::string_view("by hand\n"));
                co_await other.close();
            }
            bool is_above_on_disk = false;
            on.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (sqe.opcode == IORING_OP_WRITE) {
                    const auto found = on.durable_contents(path).value_or("");
                    is_above_on_disk = found.find("by hand\n") != found.npos;
                }
                return std::nullopt;
            });
            co_await log.durable(two);
            CHECK(is_above_on_disk);
            co_await log.close();
        });
    }
}

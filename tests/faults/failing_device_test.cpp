// A durable log on disks that refuse it in each of the ways that a disk can: quotas, damage, bad
// blocks, a device that is full although its file system is not, or gone. What was acknowledged is
// there afterwards, what is told to be lost is what is missing, and no line is torn. As root;
// elsewhere what cannot be had is skipped, with the reason.
#include "support/durable_log_steps.hpp"

#include <sapwood/event.hpp>
#include <sapwood/run.hpp>
#include <sapwood/spawn.hpp>

#include <cerrno>
#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event;
using sapwood::log_health;
using sapwood::lsn;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::task;
using namespace sapwood::test;

/// Begins to append so many records, of 1000 bytes each.
std::vector<sapwood::join_handle<lsn>> append_many(pipeline& log, int count) {
    std::vector<sapwood::join_handle<lsn>> all;
    for (int i = 0; i < count; ++i) {
        all.push_back(sapwood::spawn(append(log, 1000)));
    }
    return all;
}

/// Every one of them is accepted, and durable.
task<> all_durable(pipeline& log, std::vector<sapwood::join_handle<lsn>> all) {
    for (auto& each : all) {
        co_await log.durable(co_await each);
    }
}

/// Of a log whose disk refuses it for good: says so, and how many it has lost.
task<> close_in_vain(pipeline& log, std::uint64_t lost) {
    bool has_thrown = false;
    try {
        co_await log.close();
    } catch (const std::system_error&) {
        has_thrown = true;
    }
    CHECK(has_thrown);
    CHECK(log.counts().lines_lost == lost);
    check_account(log);
}

task<> open_and_close(std::string path) {
    pipeline log = co_await opened(path, durable());
    co_await log.close();
}

void check_found(const std::string& path, std::uint64_t lines) {
    const auto log = verified(path);
    CHECK(log.is_whole());
    CHECK(log.lines == lines);
    CHECK(log.first == lsn{1});
    CHECK(log.last == lsn{lines});
}

} // namespace

TEST_SUITE("failing_device") {
    TEST_CASE("past a quota: nothing is lost, and it goes on by itself when the quota is raised") {
        const auto disk = disk_of(scratch_disk::kind::btrfs, 128u << 20);
        if (disk == nullptr) {
            return;
        }
        disk->set_quota(256u << 10);
        sapwood::run([](scratch_disk& on, std::string path) -> task<> {
            pipeline log = co_await opened(path, durable());
            auto all = append_many(log, 500);
            co_await until_degraded(log, std::errc{EDQUOT});
            CHECK(log.counts().durable < lsn{500});
            on.set_quota(0);
            co_await all_durable(log, std::move(all));
            CHECK(!log.health().is_degraded());
            co_await log.close();
            CHECK(log.counts().lines_lost == 0);
            check_account(log);
        }(*disk, *disk / "log"));
        disk->mount_again();
        check_found(*disk / "log", 500);
    }

    TEST_CASE("a full disk, with drop: one line says what is missing, and that is what was lost") {
        const auto disk = disk_of(scratch_disk::kind::tmpfs, 256u << 10);
        if (disk == nullptr) {
            return;
        }
        fill(*disk / "ballast", std::string(128u << 10, 'x'));
        std::uint64_t lost = 0;
        sapwood::run([](std::string path, std::string ballast, std::uint64_t& dropped) -> task<> {
            pipeline_options options = durable();
            options.refused = sapwood::when_refused::drop;
            options.batch_bytes = 8u << 10;
            pipeline log = co_await opened(path, options);
            while (log.counts().records_lost < 20) {
                (void)co_await append(log, 1000);
                co_await sapwood::idle(1ms);
            }
            CHECK(log.health().reason == std::errc::no_space_on_device);
            std::filesystem::remove(ballast);
            while (log.health().is_degraded()) {
                co_await sapwood::sleep_for(1ms);
            }
            const lsn last = co_await append(log, 100);
            co_await log.durable(last);
            co_await log.close();
            check_account(log);
            dropped = log.counts().records_lost;
            CHECK(log.counts().durable == last);
        }(*disk / "log", *disk / "ballast", lost));
        const auto log = verified(*disk / "log");
        CHECK(log.is_whole());
        CHECK(log.missing_records_told == lost);
        CHECK(log.missing_records_untold == 0);
        CHECK(log.lines + lost == to_number(log.last));
    }

    TEST_CASE("bad blocks, a full device: a sync that fails is not believed when it succeeds") {
        for (const int error : {EIO, ENOSPC}) {
            CAPTURE(error);
            const auto disk = disk_of(scratch_disk::kind::failing_ext4, 32u << 20);
            if (disk == nullptr) {
                return;
            }
            sapwood::run([](scratch_disk& on, std::string path, int why) -> task<> {
                pipeline log = co_await opened(path, durable());
                co_await log.durable(co_await append(log, 100));
                on.refuse_writes_of("xxxx", why);
                auto all = append_many(log, 50);
                co_await until_degraded(log, std::errc{why});
                CHECK(log.health().text.starts_with("cannot sync"));
                while (log.counts().retries < 2 && log.counts().durable == lsn{1}) {
                    co_await sapwood::sleep_for(1ms);
                }
                CHECK(log.counts().durable == lsn{1});
                on.mend();
                co_await all_durable(log, std::move(all));
                co_await log.close();
                CHECK(log.counts().segments_begun >= 1);
                CHECK(log.counts().lines_lost == 0);
                check_account(log);
            }(*disk, *disk / "log", error));
            // What the kernel only believed to be there is gone now.
            disk->mount_again();
            check_found(*disk / "log", 51);
        }
    }

    TEST_CASE("an unplugged device: nothing is acknowledged, and what is lost is counted") {
        const auto disk = disk_of(scratch_disk::kind::failing_ext4, 32u << 20);
        if (disk == nullptr) {
            return;
        }
        sapwood::run([](scratch_disk& on, std::string path) -> task<> {
            pipeline_options options = durable();
            options.give_up_after = 50ms;
            pipeline log = co_await opened(path, options);
            co_await log.durable(co_await append(log, 100));
            on.unplug();
            const lsn last = co_await append(log, 100);
            (void)co_await append(log, 100);
            while (!log.health().is_degraded()) {
                co_await sapwood::sleep_for(1ms);
            }
            co_await close_in_vain(log, 2);
            CHECK(!(co_await as_result(log.durable(last))));
            CHECK(log.counts().durable == lsn{1});
        }(*disk, *disk / "log"));
        disk->mend();
        disk->mount_again();
        sapwood::run(
            open_and_close(*disk / "log")); // of what was never acknowledged part may be there
        check_found(*disk / "log", 1);
    }

    TEST_CASE(
        "a damaged file system, read-only since: what is lost is counted, the rest is there") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 32u << 20);
        if (disk == nullptr) {
            return;
        }
        sapwood::run([](scratch_disk& on, std::string path) -> task<> {
            pipeline_options options = durable();
            options.give_up_after = 50ms;
            pipeline log = co_await opened(path, options);
            co_await log.durable(co_await append(log, 100));
            on.find_damage();
            const lsn last = co_await append(log, 100);
            co_await until_degraded(log, std::errc::read_only_file_system);
            CHECK(log.health().text.find(log.path()) != std::string::npos);
            co_await close_in_vain(log, 1);
            CHECK(!(co_await as_result(log.durable(last))));
        }(*disk, *disk / "log"));
        disk->mount_again();
        sapwood::run(open_and_close(*disk / "log"));
        check_found(*disk / "log", 1);
    }

    TEST_CASE("a read-only disk: the open is refused and says so, and succeeds when it is not") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 32u << 20);
        if (disk == nullptr) {
            return;
        }
        disk->set_read_only(true);
        const auto append_one = [](std::string path) -> task<> {
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, 100));
            co_await log.close();
        };
        std::error_code why;
        std::string text;
        try {
            sapwood::run(append_one(*disk / "log"));
        } catch (const std::system_error& error) {
            why = error.code();
            text = error.what();
        }
        CHECK(why == std::errc::read_only_file_system);
        CHECK(text.find(*disk / "log") != std::string::npos);
        disk->set_read_only(false);
        sapwood::run(append_one(*disk / "log"));
        check_found(*disk / "log", 1);
    }

    TEST_CASE("a directory that is removed: the log waits, and goes on in its place when it is "
              "there again") {
        const temporary_directory above;
        const std::string folder = above / "logs";
        std::filesystem::create_directory(folder);
        sapwood::run([](std::string in) -> task<> {
            pipeline log = co_await opened(in + "/log", durable());
            co_await log.durable(co_await append(log, 100));
            std::filesystem::remove_all(in);
            event degraded;
            log.on_health([&](const log_health& now) {
                if (now.is_degraded()) {
                    degraded.set();
                }
            });
            const lsn kept =
                co_await append(log, 100); // which nothing leads to is acknowledged nowhere
            co_await degraded.wait();
            CHECK(log.health().reason == std::errc::no_such_file_or_directory);
            CHECK(log.counts().durable == lsn{1});
            std::filesystem::create_directory(in);
            co_await log.durable(kept);
            CHECK(log.file().reopened == 1);
            co_await log.close();
            CHECK(log.counts().lines_lost == 0);
            check_account(log);
        }(folder));
        const auto log = verified(folder + "/log");
        CHECK(log.is_whole());
        CHECK(log.first == lsn{2});
        CHECK(log.last == lsn{2});
    }
}

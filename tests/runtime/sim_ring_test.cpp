// The simulated machine: the same each time, every fault reached, and each rule of its disk.
#include "sim_ring.hpp"

#include <sapwood/sim_world.hpp>

#include <sapwood/directory.hpp>
#include <sapwood/event.hpp>
#include <sapwood/file.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>
#include <sapwood/whole_file.hpp>

#include <array>
#include <cerrno>
#include <doctest/doctest.h>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using sapwood::directory;
using sapwood::file;
using sapwood::sim_crash;
using sapwood::sim_faults;
using sapwood::sim_options;
using sapwood::sim_world;
using sapwood::task;
using sapwood::when_taken;

constexpr int appending = O_WRONLY | O_APPEND | O_CREAT;

task<> sync_root() {
    directory root = co_await directory::open("/");
    co_await root.sync();
    co_await root.close();
}

task<> append(std::string path, std::string text) {
    file log = co_await file::open(path, {.flags = appending});
    co_await log.write_all(text);
    co_await log.close();
}

task<> append_synced(std::string path, std::string text) {
    file log = co_await file::open(path, {.flags = appending});
    co_await log.write_all(text);
    co_await log.datasync();
    co_await log.close();
}

/// What the file has after a power cut, over many seeds.
std::set<std::string> outcomes(const std::function<task<>(sim_world&)>& program,
                               std::string_view path = "/log") {
    std::set<std::string> seen;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        sim_world world({.seed = seed});
        CHECK(world.run(program(world)));
        world.crash(sim_crash::power_cut);
        seen.insert(world.contents(path).value_or("(gone)"));
    }
    return seen;
}

/// A program that does a little of everything, whatever fails.
task<> busy(sim_world& world) {
    sapwood::sim_random& chance = world.chance();
    for (int i = 0; i < 40; ++i) {
        bool has_failed = false;
        try {
            file log = co_await file::open(i % 4 == 0 ? "/a" : "/b", {.flags = appending});
            const std::string text(chance.between(1, 900), 'x');
            co_await log.write_all(text);
            co_await log.datasync();
            co_await sapwood::when_all(append("/c", text), append("/d", text));
            (void)co_await as_result(sapwood::rename_file("/c", "/e"));
            co_await log.close();
        } catch (const std::system_error&) {
            has_failed = true;
        }
        if (has_failed) {
            co_await sapwood::sleep_for(1ms);
        }
    }
}

sim_options swarm(std::uint64_t seed) {
    sim_options options{.seed = seed};
    sapwood::sim_random chance(seed);
    options.faults = sim_faults::some(chance);
    return options;
}

} // namespace

TEST_SUITE("sim_ring") {
    TEST_CASE("the same seed is the same run, to the last operation, and another one is not") {
        std::set<std::uint64_t> digests;
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            std::vector<std::string> first;
            std::uint64_t digest = 0;
            for (int time = 0; time < 3; ++time) {
                sim_options options = swarm(seed);
                options.traces = time != 2; // looking on changes nothing
                sim_world world(options);
                world.crash_at(60, sim_crash::power_cut);
                world.run(busy(world));
                world.run(busy(world));
                if (time == 0) {
                    first = world.trace();
                    digest = world.digest();
                    CHECK(first.size() > 60);
                } else {
                    CHECK(world.digest() == digest);
                    CHECK((time == 2 || world.trace() == first));
                }
            }
            digests.insert(digest);
        }
        CHECK(digests.size() == 20);
    }

    TEST_CASE("every kind of fault is reached") {
        sapwood::sim_counts all;
        for (std::uint64_t seed = 1; seed <= 60; ++seed) {
            sim_options options = swarm(seed);
            options.cq_entries = 2;
            sim_world world(options);
            world.add({.from = 0s, .to = 1ms, .error = ENOSPC, .bytes_left = 100});
            world.crash_at(200, sim_crash::kill);
            world.run(busy(world));
            const auto& counts = world.counts();
            all.short_writes += counts.short_writes;
            all.interrupted += counts.interrupted;
            all.tried_again += counts.tried_again;
            all.write_errors += counts.write_errors;
            all.sync_errors += counts.sync_errors;
            all.name_errors += counts.name_errors;
            all.outage_errors += counts.outage_errors;
            all.slow += counts.slow;
            all.hung += counts.hung;
            all.early_returns += counts.early_returns;
            all.given_up += counts.given_up;
            all.overflows += counts.overflows;
            all.crashes += counts.crashes;
            all.evicted += counts.evicted;
        }
        CHECK(all.short_writes > 0);
        CHECK(all.interrupted > 0);
        CHECK(all.tried_again > 0);
        CHECK(all.write_errors > 0);
        CHECK(all.sync_errors > 0);
        CHECK(all.name_errors > 0);
        CHECK(all.outage_errors > 0);
        CHECK(all.slow > 0);
        CHECK(all.hung > 0);
        CHECK(all.early_returns > 0);
        CHECK(all.given_up > 0);
        CHECK(all.overflows > 0);
        CHECK(all.crashes > 0);
        CHECK(all.evicted > 0);
    }

    TEST_CASE("nothing sleeps: an hour passes at once") {
        sim_world world;
        const auto began = world.now();
        const auto real_began = std::chrono::steady_clock::now();
        CHECK(world.run([]() -> task<> { co_await sapwood::sleep_for(1h); }()));
        CHECK(world.now() - began >= 1h);
        CHECK(std::chrono::steady_clock::now() - real_began < 10s);
    }

    // --- processes ---

    TEST_CASE("what a process writes the next one reads") {
        sim_world world;
        CHECK(world.run(append("/log", "one\n")));
        CHECK(world.run(append("/log", "two\n")));
        CHECK(world.contents("/log") == "one\ntwo\n");
    }

    TEST_CASE("a kill keeps what the kernel has, and some of the write under way") {
        std::set<std::string> seen;
        for (std::uint64_t seed = 0; seed < 200; ++seed) {
            sim_world world({.seed = seed});
            world.crash_at(3, sim_crash::kill); // open, write, write
            CHECK_FALSE(world.run([]() -> task<> {
                file log = co_await file::open("/log", {.flags = appending});
                (void)co_await log.write_some("one\n"sv);
                (void)co_await log.write_some("two\n"sv);
                (void)co_await log.write_some("three\n"sv);
            }()));
            CHECK(world.has_crashed());
            seen.insert(*world.contents("/log"));
        }
        CHECK(seen ==
              std::set<std::string>{"one\n", "one\nt", "one\ntw", "one\ntwo", "one\ntwo\n"});
    }

    TEST_CASE("a process that has crashed ends, and nothing it does then is left") {
        sim_world world;
        bool ended = false;
        world.crash_at(2, sim_crash::kill);
        CHECK_FALSE(world.run([](bool& told) -> task<> {
            std::exception_ptr stopped;
            try {
                for (;;) {
                    co_await append("/log", "more\n");
                }
            } catch (const sapwood::cancelled&) {
                stopped = std::current_exception();
            }
            told = true;
            std::rethrow_exception(stopped);
        }(ended)));
        CHECK(ended);
        CHECK(world.contents("/log").value_or("").size() <= 5);
    }

    TEST_CASE("a process that waits for what never comes is told of as hung") {
        sim_world world;
        CHECK_FALSE(world.run([]() -> task<> {
            sapwood::event never;
            co_await never.wait();
        }()));
        CHECK(world.has_hung());
    }

    TEST_CASE("one that has no end is, too, when its patience is over") {
        sim_world world({.patience = 1min});
        CHECK_FALSE(world.run([]() -> task<> {
            for (;;) {
                co_await sapwood::sleep_for(1s);
            }
        }()));
        CHECK(world.has_hung());
    }

    TEST_CASE("what a process throws is thrown") {
        sim_world world;
        CHECK_THROWS_AS(world.run([]() -> task<> { (void)co_await file::open("/nothing"); }()),
                        std::system_error);
    }

    TEST_CASE("an exclusive lock wants a descriptor that may write, as on NFS") {
        sim_world world({.seed = 1});
        world.put("/log", "text");
        CHECK(world.run([]() -> task<> {
            file reader = co_await file::open("/log", {.flags = O_RDONLY});
            CHECK(reader.try_lock() == std::errc::bad_file_descriptor);
            file writer = co_await file::open("/log", {.flags = O_RDWR});
            CHECK_FALSE(writer.try_lock());
            co_await reader.close();
            co_await writer.close();
        }()));
    }

    TEST_CASE("descriptors and locks go with their process, and are counted until then") {
        sim_world world;
        CHECK(world.run([]() -> task<> {
            file one = co_await file::open("/log", {.flags = appending});
            file other = co_await file::open("/log", {.flags = appending});
            CHECK_FALSE(one.try_lock());
            CHECK(other.try_lock() == std::errc::operation_would_block);
            one.unlock();
            CHECK_FALSE(other.try_lock());
        }()));
        CHECK(world.machine().files.open_count() == 0);
        CHECK(world.run([]() -> task<> {
            file again = co_await file::open("/log", {.flags = appending});
            CHECK_FALSE(again.try_lock());
        }()));
    }

    // --- bytes ---

    TEST_CASE("what was synced, with its name, survives a power cut") {
        const auto seen = outcomes([](sim_world&) -> task<> {
            co_await append_synced("/log", "one\n");
            co_await sync_root();
        });
        CHECK(seen == std::set<std::string>{"one\n"});
    }

    TEST_CASE("what was not synced survives, or not, or in part") {
        const auto seen = outcomes([](sim_world& world) -> task<> {
            world.put("/log", "one\n");
            co_await append("/log", "two\n");
        });
        CHECK(seen.contains("one\n"));
        CHECK(seen.contains("one\ntwo\n"));
        CHECK(seen.contains("one\ntw"));
        CHECK(seen.contains("one\n\0\0\0\0"s)); // the length without the bytes
        for (const std::string& each : seen) {
            CHECK(each.substr(0, 4) == "one\n");
        }
    }

    TEST_CASE("a write that is longer than a sector is torn at sectors") {
        const std::string text = std::string(600, 'a') + std::string(600, 'b');
        bool has_hole = false;
        for (const std::string& each : outcomes([&](sim_world&) -> task<> {
                 co_await append("/log", text);
                 co_await sync_root();
             })) {
            for (std::size_t at = 0; at < each.size(); at += 512) {
                const std::string sector = each.substr(at, 512);
                const bool is_zero = sector == std::string(sector.size(), '\0');
                CHECK((is_zero || sector == text.substr(at, sector.size())));
                has_hole =
                    has_hole || (is_zero && at == 0 && each.size() > 512 && each[512] != '\0');
            }
        }
        CHECK(has_hole);
    }

    TEST_CASE("a write with O_DSYNC is durable, and what was written before it is not") {
        const auto seen = outcomes([](sim_world& world) -> task<> {
            world.put("/log", "");
            co_await append("/log", std::string(2000, 'a'));
            file log = co_await file::open("/log", {.flags = appending | O_DSYNC});
            co_await log.write_all("durable\n"sv);
            co_await log.close();
        });
        CHECK(seen.size() > 1);
        for (const std::string& each : seen) {
            CHECK(each.ends_with("durable\n"));
            CHECK(each.size() == 2008);
        }
    }

    TEST_CASE("a sync covers what was written before it began, not what was written meanwhile") {
        bool is_lost = false;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_world world({.seed = seed});
            world.put("/log", "");
            CHECK(world.run([]() -> task<> {
                file log = co_await file::open("/log", {.flags = appending});
                (void)co_await log.write_some("one\n"sv);
                co_await sapwood::when_all(
                    [](file& of) -> task<> { co_await of.datasync(); }(log),
                    [](file& of) -> task<> { (void)co_await of.write_some("two\n"sv); }(log));
                co_await log.close();
            }()));
            world.crash(sim_crash::power_cut);
            CHECK(world.contents("/log")->starts_with("one\n"));
            is_lost = is_lost || world.contents("/log") == "one\n";
        }
        CHECK(is_lost);
    }

    TEST_CASE("a failed sync is told once, and a second one believes that all is well") {
        bool is_lost = false;
        for (std::uint64_t seed = 0; seed < 50; ++seed) {
            sim_world world({.seed = seed});
            world.put("/log", "");
            world.set_faults({.sync_error = 1});
            CHECK(world.run([](sim_world& on) -> task<> {
                file log = co_await file::open("/log", {.flags = appending});
                co_await log.write_all("one\n"sv);
                CHECK_FALSE(co_await as_result(log.datasync()));
                on.heal();
                CHECK(co_await as_result(log.datasync()));
                co_await log.close();
            }(world)));
            CHECK(world.contents("/log") == "one\n"); // in memory, for now
            world.crash(sim_crash::power_cut);
            is_lost = is_lost || world.contents("/log")->find("one") == std::string::npos;
        }
        CHECK(is_lost);
    }

    TEST_CASE("a truncation is durable with the next sync, and may leave zeros before") {
        const auto seen = outcomes([](sim_world& world) -> task<> {
            world.put("/log", "one\ntwo\n");
            file log = co_await file::open("/log", {.flags = O_RDWR});
            co_await log.truncate(4);
            co_await log.close();
        });
        CHECK(seen == std::set<std::string>{"one\n", "one\ntwo\n", "one\n\0\0\0\0"s});
        CHECK(outcomes([](sim_world& world) -> task<> {
                  world.put("/log", "one\ntwo\n");
                  file log = co_await file::open("/log", {.flags = O_RDWR});
                  co_await log.truncate(4);
                  co_await log.datasync();
                  co_await log.close();
              }) == std::set<std::string>{"one\n"});
    }

    TEST_CASE(
        "a cut whose sync has failed stays to be synced: a power cut may undo it until then") {
        const auto after = [](bool syncs_again) {
            return outcomes([=](sim_world& world) -> task<> {
                world.put("/log", "one\ntwo\n");
                world.set_faults({.sync_error = 1});
                file log = co_await file::open("/log", {.flags = O_RDWR});
                co_await log.truncate(4);
                CHECK_FALSE(co_await as_result(log.datasync()));
                world.heal();
                if (syncs_again) {
                    co_await log.datasync();
                }
                co_await log.close();
                CHECK(world.contents("/log") == "one\n");
            });
        };
        CHECK(after(false) == std::set<std::string>{"one\n", "one\ntwo\n", "one\n\0\0\0\0"s});
        CHECK(after(true) == std::set<std::string>{"one\n"});
    }

    TEST_CASE("past the page cache a write that fails may leave any of its sectors") {
        bool has_first = false;
        bool has_last_alone = false;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_world world({.seed = seed});
            world.put("/log", std::string(2048, 'a'));
            world.set_faults({.write_error = 1});
            CHECK(world.run([]() -> task<> {
                alignas(512) static const std::array<char, 1024> fresh = [] {
                    std::array<char, 1024> bytes{};
                    bytes.fill('b');
                    return bytes;
                }();
                file log = co_await file::open("/log", {.flags = O_RDWR | O_DIRECT});
                (void)co_await as_result(log.write_some(fresh, {512}));
                co_await log.close();
            }()));
            const std::string found = world.contents("/log").value_or("");
            CHECK(found.size() == 2048);
            CHECK(found.substr(0, 512) == std::string(512, 'a'));
            CHECK(found.substr(1536) == std::string(512, 'a'));
            has_first = has_first || found[512] == 'b';
            has_last_alone = has_last_alone || (found[512] == 'a' && found[1024] == 'b');
        }
        CHECK(has_first);
        CHECK(has_last_alone);
    }

    TEST_CASE("an allocation makes a file longer, by zeros") {
        sim_world world;
        CHECK(world.run([]() -> task<> {
            file log = co_await file::open("/log", {.flags = O_RDWR | O_CREAT});
            co_await log.allocate(0, 8);
            CHECK((co_await log.stat()).size == 8);
            co_await log.write_all("ab"sv, {2});
            co_await log.close();
        }()));
        CHECK(world.contents("/log") == "\0\0ab\0\0\0\0"s);
    }

    // --- names ---

    TEST_CASE("a new name survives a sync of its directory, and not for sure that of its file") {
        const auto seen =
            outcomes([](sim_world&) -> task<> { co_await append_synced("/log", "one\n"); });
        CHECK(seen == std::set<std::string>{"one\n", "(gone)"});
    }

    TEST_CASE("a rename is kept whole or not at all") {
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_world world({.seed = seed});
            world.put("/log", "one\n");
            CHECK(world.run([]() -> task<> { co_await sapwood::rename_file("/log", "/old"); }()));
            world.crash(sim_crash::power_cut);
            CHECK((world.names() == std::vector<std::string>{"log"} ||
                   world.names() == std::vector<std::string>{"old"}));
        }
    }

    TEST_CASE("of the changes to a directory the first so many are kept") {
        std::set<std::vector<std::string>> seen;
        for (std::uint64_t seed = 0; seed < 200; ++seed) {
            sim_world world({.seed = seed});
            CHECK(world.run([]() -> task<> {
                co_await append("/a", "");
                co_await append("/b", "");
                co_await sapwood::remove_file("/a");
            }()));
            world.crash(sim_crash::power_cut);
            seen.insert(world.names());
        }
        CHECK(seen == std::set<std::vector<std::string>>{{}, {"a"}, {"a", "b"}, {"b"}});
    }

    TEST_CASE("a removed file that is open can be read, and is gone with its last descriptor") {
        sim_world world;
        world.put("/log", "one\n");
        CHECK(world.run([]() -> task<> {
            file log = co_await file::open("/log");
            co_await sapwood::remove_file("/log");
            char bytes[8];
            CHECK(co_await log.read_some(bytes) == 4);
            CHECK((co_await log.stat()).links == 0);
            CHECK_FALSE(co_await as_result(file::open("/log")));
        }()));
        CHECK(world.names().empty());
    }

    TEST_CASE("O_EXCL, links, FIFOs and paths are as the kernel has them") {
        sim_world world;
        world.put_directory("/logs");
        world.put("/logs/a", "one\n");
        world.put_symlink("/logs/link", "a");
        world.put_symlink("/logs/out", "../elsewhere");
        world.put_fifo("/logs/fifo");
        world.put("/elsewhere", "");
        const auto error_of = [](std::string path, int flags) -> task<std::error_code> {
            co_return (co_await as_result(file::open(path, {.flags = flags}))).error();
        };
        CHECK(world.run([](auto error) -> task<> {
            CHECK(co_await error("/logs/a", O_WRONLY | O_CREAT | O_EXCL) == std::errc::file_exists);
            CHECK(co_await error("/logs/link", O_RDONLY | O_NOFOLLOW) ==
                  std::errc::too_many_symbolic_link_levels);
            CHECK_FALSE(co_await error("/logs/link", O_RDONLY));
            CHECK_FALSE(co_await error("/logs/../logs/./a", O_RDONLY));
            CHECK(co_await error("/logs/a/b", O_RDONLY) == std::errc::not_a_directory);
            CHECK(co_await error("/logs", O_WRONLY) == std::errc::is_a_directory);
            CHECK(co_await error("/logs/fifo", O_WRONLY | O_NONBLOCK) ==
                  std::errc::no_such_device_or_address);
            directory logs = co_await directory::open("/logs");
            const sapwood::open_at_options beneath{.beneath = true};
            const auto out = co_await as_result(logs.open_file("out", beneath));
            const auto link = co_await as_result(logs.open_file("link", beneath));
            const auto taken = co_await as_result(logs.rename("a", "link", when_taken::refuse));
            CHECK(out.error() == std::errc::cross_device_link);
            CHECK(link);
            CHECK(taken.error() == std::errc::file_exists);
            co_await logs.link("a", "b");
            const auto status = co_await logs.status_of("b", sapwood::at_symlink::stay);
            CHECK(status.links == 2);
        }(error_of)));
        CHECK(world.names("/logs") == std::vector<std::string>{"a", "b", "fifo", "link", "out"});
    }

    TEST_CASE("in a directory that was removed nothing is made, and none is moved into itself") {
        sim_world world;
        world.put_directory("/logs");
        world.put_directory("/logs/old");
        CHECK(world.run([]() -> task<> {
            directory logs = co_await directory::open("/logs");
            directory old = co_await logs.open_directory("old");
            const auto inside = co_await as_result(sapwood::rename_file("/logs", "/logs/old/a"));
            CHECK(inside.error() == std::errc::invalid_argument);
            co_await sapwood::rename_file("/logs/old", "/old");
            co_await sapwood::remove_directory("/logs");
            const sapwood::open_at_options making{.flags = appending};
            const auto made = co_await as_result(logs.open_file("a", making));
            CHECK(made.error() == std::errc::no_such_file_or_directory);
            const auto moved = co_await as_result(old.open_file("a", making));
            CHECK(moved); // it goes on under its new name
        }()));
        CHECK(world.names() == std::vector<std::string>{"old"});
        CHECK(world.names("/old") == std::vector<std::string>{"a"});
    }

    TEST_CASE("who opens a FIFO waits for its other end, unless he will not or is both") {
        sim_world world;
        world.put_fifo("/fifo");
        CHECK_FALSE(world.run(
            []() -> task<> { (void)co_await file::open("/fifo", {.flags = O_RDONLY}); }()));
        CHECK(world.has_hung());
        CHECK(world.run([]() -> task<> {
            (void)co_await file::open("/fifo", {.flags = O_RDONLY | O_NONBLOCK});
            (void)co_await file::open("/fifo", {.flags = O_RDWR});
        }()));
    }

    TEST_CASE("directories are read, and whole files replaced, as ever") {
        sim_world world;
        world.put("/b", "");
        CHECK(world.run([]() -> task<> {
            co_await sapwood::write_whole_file("/a", "whole"sv);
            CHECK(co_await sapwood::read_whole_file("/a") == "whole");
        }()));
        CHECK(world.names() == std::vector<std::string>{"a", "b"});
    }

    // --- what is full, and what is short ---

    TEST_CASE("a full disk takes some of a write, then none, then all again") {
        sim_world world;
        world.add({.from = 0s, .to = 1s, .error = ENOSPC, .bytes_left = 3});
        CHECK(world.run([]() -> task<> {
            file log = co_await file::open("/log", {.flags = appending});
            CHECK(co_await log.write_some("12345"sv) == 3);
            CHECK((co_await as_result(log.write_some("45"sv))).error() ==
                  std::errc::no_space_on_device);
            co_await sapwood::sleep_for(2s);
            CHECK(co_await log.write_some("45"sv) == 2);
        }()));
        CHECK(world.contents("/log") == "12345");
    }

    TEST_CASE("a read-only file system refuses new files, and reads what is there") {
        sim_world world;
        world.put("/log", "one\n");
        world.add({.from = 0s, .to = 1h, .error = EROFS});
        CHECK(world.run([]() -> task<> {
            CHECK((co_await as_result(file::open("/new", {.flags = appending}))).error() ==
                  std::errc::read_only_file_system);
            file log = co_await file::open("/log");
            char bytes[8];
            CHECK(co_await log.read_some(bytes) == 4);
        }()));
    }

    TEST_CASE("a script decides how an operation ends") {
        sim_world world;
        world.script([](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            return sqe.opcode == IORING_OP_WRITE ? std::optional(-EFBIG) : std::nullopt;
        });
        CHECK(world.run([]() -> task<> {
            file log = co_await file::open("/log", {.flags = appending});
            CHECK((co_await as_result(log.write_some("x"sv))).error() == std::errc::file_too_large);
        }()));
    }

    TEST_CASE("what the kernel gives up is done all the same, and leaves nothing open") {
        std::uint64_t given_up = 0;
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            sim_world world({.seed = seed, .faults = {.given_up = 2}});
            CHECK(world.run([](sim_world& on) -> task<> {
                co_await busy(on);
                CHECK(on.machine().files.open_count() == 0);
            }(world)));
            given_up += world.counts().given_up;
            CHECK(world.contents("/a")->size() + world.contents("/b")->size() ==
                  world.contents("/d")->size());
        }
        CHECK(given_up > 1000);
    }

    TEST_CASE("a close that the kernel has given up before it began is made all the same") {
        for (const int times : {1, 100, 101, 1000}) {
            CAPTURE(times);
            sim_world world;
            int left = times;
            world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                const bool is_given_up = sqe.opcode == IORING_OP_CLOSE && left-- > 0;
                return is_given_up ? std::optional(-ECANCELED) : std::nullopt;
            });
            CHECK(world.run([](sim_world& on) -> task<> {
                for (int round = 0; round < 2; ++round) {
                    file log = co_await file::open("/log", {.flags = appending});
                    CHECK_FALSE(log.try_lock());
                    co_await log.close();
                    CHECK(on.machine().files.open_count() == 0);
                }
            }(world)));
        }
    }

    // --- the ring ---

    TEST_CASE("what has begun cannot be cancelled, and what has not can") {
        sapwood::sim_counts all;
        for (std::uint64_t seed = 0; seed < 50; ++seed) {
            sim_world world({.seed = seed});
            CHECK(world.run([]() -> task<> {
                file log = co_await file::open("/log", {.flags = appending});
                try {
                    co_await sapwood::timeout(10us, [](file& of) -> task<> {
                        co_await of.write_all("one\n"sv);
                        co_await of.datasync();
                    }(log));
                } catch (const std::system_error&) {
                    // It was over before, or it was not.
                }
                co_await log.close();
            }()));
            const std::string text = world.contents("/log").value_or("");
            CHECK((text.empty() || text == "one\n"));
            all.cancelled += world.counts().cancelled;
            all.cancelled_too_late += world.counts().cancelled_too_late;
        }
        CHECK(all.cancelled_too_late > 0);
        CHECK(all.cancelled > 0);
    }

    TEST_CASE("one SQE at a time and two completions at a time are enough") {
        sim_options options{.seed = 7};
        options.sq_entries = 1;
        options.cq_entries = 2;
        sim_world world(options);
        CHECK(world.run([]() -> task<> {
            std::vector<task<>> all;
            for (int i = 0; i < 30; ++i) {
                all.push_back(append("/" + std::to_string(i), "x"));
            }
            co_await sapwood::when_all(std::move(all));
        }()));
        CHECK(world.names().size() == 30);
        CHECK(world.counts().overflows > 0);
    }

    TEST_CASE("operations that were submitted together complete in any order") {
        std::set<std::string> seen;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            sim_world world({.seed = seed});
            CHECK(world.run([]() -> task<> {
                file log = co_await file::open("/log", {.flags = appending});
                const auto put = [](file& of, std::string_view text) -> task<> {
                    (void)co_await of.write_some(text);
                };
                co_await sapwood::when_all(put(log, "a"), put(log, "b"), put(log, "c"));
                co_await log.close();
            }()));
            seen.insert(*world.contents("/log"));
        }
        CHECK(seen == std::set<std::string>{"abc", "acb", "bac", "bca", "cab", "cba"});
    }

    TEST_CASE("a chain stops where a write is short") {
        sim_world world;
        world.set_faults({.short_write = 1});
        const auto made = world.make_ring();
        sapwood::ring& ring = *made;
        const int fd = world.machine().files.open(AT_FDCWD, "/log", appending, 0600, 0);
        ::io_uring_prep_write(ring.next_sqe(), fd, "12345", 5, 0);
        io_uring_sqe* const sync = ring.next_sqe();
        ::io_uring_prep_fsync(sync, fd, 0);
        sync->user_data = 2;
        (sync - 1)->flags = IOSQE_IO_LINK;
        (sync - 1)->user_data = 1;
        std::vector<std::int32_t> results;
        while (results.size() < 2) {
            ring.enter(sapwood::ring::no_deadline);
            ring.reap([&](std::uint64_t, std::int32_t value, std::uint32_t) {
                results.push_back(value);
            });
        }
        CHECK(results[0] > 0);
        CHECK(results[0] < 5);
        CHECK(results[1] == -ECANCELED);
    }

    TEST_CASE("queues that are no power of two are refused") {
        sim_options options;
        options.sq_entries = 3;
        CHECK_THROWS_AS(sim_world{options}, std::invalid_argument);
    }
}

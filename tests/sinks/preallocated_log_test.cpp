// A log whose space is preallocated: what is in the file while it is written and afterwards, what
// an open finds of it, and what becomes of it where disks, file systems and other people do not do
// what it needs.
#include "sim_machine.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/log_verifier.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sim_world.hpp>

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <liburing.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/uio.h>

namespace {

using namespace std::chrono_literals;
using sapwood::durability;
using sapwood::file_sink;
using sapwood::file_sink_options;
using sapwood::level;
using sapwood::lsn;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::record;
using sapwood::sim_world;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::fill;
using sapwood::test::numbered;
using sapwood::test::temporary_directory;

constexpr std::size_t block = 4096;
constexpr std::size_t ahead = 4 * block;
constexpr std::uint8_t opcode_ftruncate = 55; // Linux 6.9

task<pipeline> opened(const std::string& path, pipeline_options options = {}) {
    const file_sink_options file{.path = path, .preallocated_bytes = ahead};
    options.durable = durability::batch();
    pipeline log = co_await pipeline::open(file, options);
    log.on_loss([](const std::string&) {});
    co_return log;
}

task<lsn> append(pipeline& log, std::string message) {
    record item(level::info, 7, message);
    co_return co_await log.append(std::move(item));
}

task<> append_durably(pipeline& log, std::string message) {
    const lsn place = co_await append(log, std::move(message));
    co_await log.durable(place);
}

/// Without the zeros at its end.
std::string text_of(std::string_view contents) {
    return std::string(contents.substr(0, contents.find_last_not_of('\0') + 1));
}

/// How many whole numbered lines; or a check fails.
std::uint64_t lines_of(std::string_view text) {
    std::uint64_t count = 0;
    while (!text.empty()) {
        const auto end = text.find('\n');
        REQUIRE(end != text.npos);
        CHECK(sapwood::numbered_line::parse(text.substr(0, end)).is ==
              sapwood::numbered_line::state::whole);
        text.remove_prefix(end + 1);
        ++count;
    }
    return count;
}

bool is_synced_write(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0;
}

/// `records` records, each awaited, into /log of `world`, which is closed then.
task<> write_records(int records) {
    pipeline log = co_await opened("/log");
    for (int i = 0; i < records; ++i) {
        co_await append_durably(log, std::string(100, 'x'));
    }
    CHECK(!log.health().is_degraded());
    co_await log.close();
}

std::string contents_of(const sim_world& world, std::string_view path) {
    return world.contents(path).value_or("no such file");
}

} // namespace

TEST_SUITE("preallocated_log") {
    CO_TEST_CASE("lines go over zeros, up to the end of a block; a close cuts these off") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        pipeline log = co_await opened(path);
        std::size_t length = 0;
        for (int i = 0; i < 200; ++i) {
            co_await append_durably(log, fmt::format("record {}", i));
            const std::string contents = contents_of(path);
            REQUIRE(contents.size() % block == 0);
            REQUIRE(lines_of(text_of(contents)) == static_cast<std::uint64_t>(i) + 1);
            length = contents.size();
        }
        CHECK(length <= block * (200 * 100 / block + 1) + ahead);
        co_await log.close();
        const std::string contents = contents_of(path);
        CHECK(contents.find('\0') == contents.npos);
        CHECK(lines_of(contents) == 200);
    }

    CO_TEST_CASE("batches of any length go in, short ones behind long ones") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        pipeline log = co_await opened(path);
        std::size_t bytes = 1;
        for (int i = 0; i < 40; ++i, bytes = bytes * 7 % 300'007) {
            co_await append_durably(log, std::string(bytes, 'x'));
        }
        co_await log.close();
        CHECK(lines_of(contents_of(path)) == 40);
    }

    CO_TEST_CASE("behind lines that were more than is ahead no zeros go over them") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        pipeline log = co_await opened(path);
        std::uint64_t count = 0;
        for (const std::size_t bytes : {20'000u, 10u, 5'000u, 10u, 100'000u, 10u}) {
            co_await append_durably(log, std::string(bytes, 'x'));
            CHECK(lines_of(text_of(contents_of(path))) == ++count);
        }
        co_await log.close();
    }

    TEST_CASE("zeros are written once, a MiB at a time, and not where many lines are to come") {
        sim_world world;
        std::uint64_t writes = 0;
        std::uint64_t bytes = 0;
        world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode == IORING_OP_WRITE) {
                ++writes;
                bytes += sqe.len;
            }
            return std::nullopt;
        });
        const auto test = [](std::uint64_t& count, std::uint64_t& all) -> task<> {
            const file_sink_options file{
                .path = "/log", .numbered = true, .preallocated_bytes = 4u << 20};
            file_sink sink = co_await file_sink::open(file);
            CHECK(all == (1u << 20) + block); // to a MiB behind the block that comes
            std::uint64_t place = 0;
            count = 0;
            while (sink.size() < (1u << 20) - block) {
                const std::string line = numbered(++place, std::string(1000, 'x'));
                co_await sink.write(line);
            }
            CHECK(count == place); // nothing but the lines
            const std::string many = numbered(++place, std::string(1u << 20, 'x'));
            const std::uint64_t begin = sink.size() / block * block;
            all = 0;
            co_await sink.write(many);
            CHECK(all == (sink.size() + block - 1) / block * block - begin);
            co_await sink.close();
        };
        CHECK(world.run(test(writes, bytes)));
    }

    TEST_CASE("the last block is read before it is gone on with, however short reads are") {
        for (const bool ends : {false, true}) { // somebody cuts the file meanwhile
            const temporary_directory folder;
            const std::string path = folder / "log";
            std::string found;
            for (std::uint64_t i = 1; i <= 50; ++i) {
                found += numbered(i, std::string(100, 'x'), i % 10 == 0);
            }
            fill(path, found);
            sapwood::test::loop_with_writes loop(sapwood::test::perform);
            loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                const bool is_last_block = sqe.off >= found.size() / block * block;
                if (sqe.opcode != IORING_OP_READ || !is_last_block) {
                    return sapwood::test::perform(sqe);
                }
                return ends ? 0 : sapwood::test::perform_some(sqe, 100);
            };
            std::string what;
            loop.run([](std::string where, std::string& why) -> task<> {
                const file_sink_options file{
                    .path = where, .numbered = true, .preallocated_bytes = ahead};
                try {
                    file_sink sink = co_await file_sink::open(file);
                    const std::string line = numbered(51, "text");
                    co_await sink.write(line);
                    co_await sink.close();
                } catch (const std::system_error& error) {
                    why = error.what();
                }
            }(path, what));
            CHECK(what == (ends ? "cannot read the end of " + path + ": Input/output error" : ""));
            CHECK(contents_of(path) == found + (ends ? "" : numbered(51, "text")));
        }
    }

    TEST_CASE(
        "a write that gets on is continued, however often, and one that does not is given up") {
        for (const bool gets_on : {true, false}) {
            const temporary_directory folder;
            sapwood::test::loop_with_writes loop(sapwood::test::perform);
            loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (sqe.opcode != IORING_OP_WRITE || sqe.off == ~0ull) {
                    return sapwood::test::perform(sqe);
                }
                return gets_on ? sapwood::test::perform_some(sqe, block) : 512;
            };
            std::error_code failure;
            loop.run([](std::string where, std::error_code& why) -> task<> {
                const file_sink_options file{
                    .path = where, .numbered = true, .preallocated_bytes = ahead};
                file_sink sink = co_await file_sink::open(file);
                CHECK(sink.is_preallocated());
                const std::string line = numbered(1, std::string(40 * block, 'x'));
                try {
                    co_await sink.write(line);
                } catch (const sapwood::write_error& error) {
                    why = error.code();
                }
                co_await sink.close();
            }(folder / "log", failure));
            CHECK((failure == std::errc::io_error) == !gets_on);
        }
    }

    TEST_CASE("what a write that failed has left is gone when fewer lines come in its place") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        sapwood::test::loop_with_writes loop(sapwood::test::perform);
        bool fails = false;
        loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            const auto done = sapwood::test::perform(sqe);
            const bool is_direct = sqe.opcode == IORING_OP_WRITE && sqe.off != ~0ull;
            return is_direct && fails ? std::optional(-ENOSPC) : done;
        };
        loop.run([](std::string where, bool& no) -> task<> {
            const file_sink_options file{
                .path = where, .numbered = true, .preallocated_bytes = ahead};
            file_sink sink = co_await file_sink::open(file);
            const std::string many = numbered(1, std::string(3 * block, 'x'));
            const std::string few = numbered(1, "few");
            no = true;
            bool is_refused = false;
            try {
                co_await sink.write(many);
            } catch (const sapwood::write_error& error) {
                is_refused = error.bytes_kept == 0;
            }
            CHECK(is_refused);
            no = false;
            co_await sink.write(few);
            const bool is_gone = text_of(contents_of(where)) == few;
            CHECK(is_gone);
            co_await sink.close();
        }(path, fails));
    }

    CO_TEST_CASE("after a restart the last block goes on where it was") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        for (std::uint64_t i = 1; i <= 50; ++i) {
            pipeline log = co_await opened(path);
            CHECK(log.counts().durable == lsn{i - 1});
            co_await append_durably(log, std::string(90, 'x'));
            co_await log.close();
        }
        CHECK(lines_of(contents_of(path)) == 50);
    }

    CO_TEST_CASE("of a log that was not closed the zeros are no damage, and are cut off") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const std::string good = numbered(1, "text") + numbered(2, "text");
        for (const std::string& torn : {std::string(), numbered(3, "text").substr(0, 20)}) {
            fill(path, good + torn + std::string(3 * block - good.size() - torn.size(), '\0'));
            const auto found =
                sapwood::log_verifier().verify(sapwood::log_verifier::segments_of(path));
            CHECK(found.is_whole() == torn.empty());
            CHECK(found.damaged_bytes == torn.size());
            CHECK(found.segments.back().preallocated_bytes ==
                  3 * block - good.size() - torn.size());
            const file_sink_options options{.path = path, .numbered = true};
            file_sink sink = co_await file_sink::open(options);
            CHECK(sink.torn_bytes() == torn.size());
            CHECK(sink.last_lsn() == lsn{2});
            co_await sink.close();
            CHECK(contents_of(path) == good);
        }
        CHECK(contents_of(path + ".torn") == numbered(3, "text").substr(0, 20) + "\n");
    }

    CO_TEST_CASE("what is cut off by somebody, or put behind the zeros, begins a new segment") {
        for (const bool is_cut : {true, false}) {
            CAPTURE(is_cut);
            const temporary_directory folder;
            const std::string path = folder / "log";
            pipeline log = co_await opened(path);
            co_await append_durably(log, "one");
            if (is_cut) {
                std::filesystem::resize_file(path, 10);
            } else {
                std::ofstream(path, std::ios::app) << "somebody's own\n";
            }
            co_await append_durably(log, "two");
            co_await append_durably(log, "three");
            co_await log.close();
            CHECK(log.counts().segments_begun == 1);
            const std::string aside = contents_of(path + ".0000000000000002");
            CHECK(aside.ends_with("somebody's own\n") == !is_cut);
            const std::string text = contents_of(path);
            CHECK(text.find("somebody else has cut or lengthened") != text.npos);
            CHECK(lines_of(text) == 3);
        }
    }

    TEST_CASE("what is cut off as the log makes its file longer comes again before it is durable") {
        // Before each write and each allocation, as far as they go.
        bool was_cut = true;
        for (int before = 0; was_cut; ++before) {
            for (const std::int64_t rest : {0, 5000}) {
                CAPTURE(before);
                CAPTURE(rest);
                sim_world world;
                was_cut = false;
                CHECK(world.run([](sim_world& on, int at, std::int64_t left, bool& cut) -> task<> {
                    pipeline_options options;
                    options.durable = durability::interval(1h);
                    const file_sink_options file{.path = "/log", .preallocated_bytes = 2 * block};
                    pipeline log = co_await pipeline::open(file, options);
                    int operations = 0;
                    on.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                        const bool is_one =
                            sqe.opcode == IORING_OP_WRITE || sqe.opcode == IORING_OP_FALLOCATE;
                        if (is_one && operations++ == at) {
                            auto& files = on.machine().files;
                            const int fd = files.open(AT_FDCWD, "/log", O_WRONLY, 0, 0);
                            (void)files.truncate(fd, left);
                            (void)files.close(fd);
                            cut = true;
                        }
                        return std::nullopt;
                    });
                    lsn last = lsn::none;
                    for (int i = 0; i < 100; ++i) {
                        last = co_await append(log, fmt::format("{:0200}", i));
                        co_await log.written(last);
                    }
                    on.script({});
                    co_await log.close(); // which has all of it on disk
                    CHECK(log.counts().durable == last);
                }(world, before, rest, was_cut)));
                std::string all;
                for (const auto& name : world.names()) {
                    all += world.durable_contents("/" + name).value_or("");
                }
                int missing = 0;
                for (int i = 0; i < 100; ++i) {
                    missing += all.find(fmt::format(" {:0200}\n", i)) == all.npos ? 1 : 0;
                }
                CHECK(missing == 0);
            }
        }
    }

    CO_TEST_CASE("a segment that is long enough is set aside without zeros, the next has them") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        pipeline_options options;
        options.segment_bytes_max = 300;
        pipeline log = co_await opened(path, options);
        for (int i = 0; i < 4; ++i) {
            co_await append_durably(log, std::string(100, 'x'));
        }
        CHECK(contents_of(path).size() % block == 0);
        CHECK(lines_of(contents_of(path + ".0000000000000003")) == 2);
        co_await log.close();
        CHECK(lines_of(contents_of(path)) == 2);
    }

    TEST_CASE("where the file system cannot, lines are appended, and one of them says so") {
        for (const int op : {IORING_OP_FALLOCATE, IORING_OP_WRITE}) {
            CAPTURE(op);
            sim_world world;
            world.script([op](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                const bool appends = sqe.opcode == IORING_OP_WRITE && sqe.off == ~0ull;
                if (sqe.opcode != op || appends) {
                    return std::nullopt;
                }
                return op == IORING_OP_WRITE ? -EINVAL : -EOPNOTSUPP;
            });
            CHECK(world.run(write_records(3)));
            const std::string text = contents_of(world, "/log");
            CHECK(lines_of(text) == 4);
            CHECK(text.find("cannot preallocate space for /log") != text.npos);
        }
    }

    TEST_CASE("where a new segment cannot have space ahead, a line of it says so") {
        sim_world world;
        bool refuses = false;
        world.script([&refuses](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            const bool is_refused = refuses && sqe.opcode == IORING_OP_FALLOCATE;
            return is_refused ? std::optional(-EOPNOTSUPP) : std::nullopt;
        });
        const auto body = [&]() -> task<> {
            pipeline_options options;
            options.segment_bytes_max = 150;
            pipeline log = co_await opened("/log", options);
            co_await append_durably(log, std::string(100, 'x'));
            refuses = true;
            co_await append_durably(log, std::string(100, 'x'));
            co_await append_durably(log, std::string(100, 'x'));
            co_await log.close();
        };
        CHECK(world.run(body()));
        const std::string text =
            contents_of(world, "/log") + contents_of(world, "/log.0000000000000003");
        CHECK(text.find("cannot preallocate space for /log (") != text.npos);
    }

    TEST_CASE("with an interval no write is synced, in space ahead or behind it") {
        for (const bool is_refused : {false, true}) { // past the page cache, later
            sim_world world;
            int synced = 0;
            int direct = 0;
            world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                synced += is_synced_write(sqe) ? 1 : 0;
                const bool is_direct = sqe.opcode == IORING_OP_WRITE && sqe.off != ~0ull;
                return is_refused && is_direct && ++direct > 3 ? std::optional(-EINVAL)
                                                               : std::nullopt;
            });
            CHECK(world.run([]() -> task<> {
                const file_sink_options file{.path = "/log", .preallocated_bytes = ahead};
                pipeline_options options;
                options.durable = durability::interval(1h);
                pipeline log = co_await pipeline::open(file, options);
                for (int i = 0; i < 5; ++i) {
                    const lsn place = co_await append(log, "text");
                    co_await log.written(place);
                }
                co_await log.close();
            }()));
            CHECK(synced == 0);
        }
    }

    TEST_CASE("a kernel that has refused a synced write is not asked again") {
        sim_world world;
        int refused = 0;
        world.script([&refused](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (!is_synced_write(sqe)) {
                return std::nullopt;
            }
            ++refused;
            return -EOPNOTSUPP;
        });
        CHECK(world.run(write_records(5)));
        CHECK(refused == 1);
    }

    TEST_CASE("where writes past the page cache are refused later only, it goes on by appending") {
        sim_world world;
        int direct = 0;
        world.script([&direct](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            const bool is_direct = sqe.opcode == IORING_OP_WRITE && sqe.off != ~0ull;
            return is_direct && ++direct > 3 ? std::optional(-EINVAL) : std::nullopt;
        });
        CHECK(world.run(write_records(5)));
        const std::string text = contents_of(world, "/log");
        CHECK(lines_of(text) == 6);
        CHECK(text.find("cannot write past the page cache into /log") != text.npos);
    }

    TEST_CASE("a kernel without synced writes: two operations, and as durable") {
        sim_world world;
        world.script([](const io_uring_sqe& sqe) {
            return is_synced_write(sqe) ? std::optional<std::int32_t>(-EOPNOTSUPP) : std::nullopt;
        });
        CHECK(world.run(write_records(100)));
        CHECK(lines_of(contents_of(world, "/log")) == 100);
    }

    TEST_CASE("a write that ends anywhere is continued at its block") {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            sim_world world({.seed = seed, .faults = {.short_write = 2}});
            CHECK(world.run([]() -> task<> {
                pipeline log = co_await opened("/log");
                for (std::size_t i = 0; i < 10; ++i) {
                    co_await append_durably(log, std::string(3000 * i, 'x'));
                }
                co_await log.close();
            }()));
            CHECK(lines_of(contents_of(world, "/log")) == 10);
        }
    }

    TEST_CASE("a synced write that fails is in doubt: the lines are in a new segment before they "
              "are acknowledged") {
        for (const bool has_memory : {true, false}) { // to tell it
            CAPTURE(has_memory);
            sim_world world;
            int synced = 0;
            std::optional<sapwood::test::failing_allocations> none;
            world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                if (!is_synced_write(sqe) || ++synced != 3) {
                    return std::nullopt;
                }
                if (!has_memory) {
                    none.emplace(1);
                }
                return -EIO;
            });
            const auto test =
                [](std::optional<sapwood::test::failing_allocations>& missing) -> task<> {
                pipeline log = co_await opened("/log");
                log.on_health([&](const sapwood::log_health&) { missing.reset(); });
                for (int i = 0; i < 4; ++i) {
                    co_await append_durably(log, "text");
                }
                CHECK(log.counts().segments_begun == 1);
                CHECK(log.counts().lines_lost == 0);
                co_await log.close();
            };
            CHECK(world.run(test(none)));
            CHECK(lines_of(contents_of(world, "/log")) == 2);
            CHECK(lines_of(text_of(contents_of(world, "/log.0000000000000003"))) == 2);
        }
    }

    TEST_CASE("no room for what is ahead: only what is needed is taken; none at all: it waits") {
        sim_world world;
        int refused = 0;
        world.script([&refused](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode != IORING_OP_FALLOCATE) {
                return std::nullopt;
            }
            const bool is_much = sqe.addr > block; // its size
            return is_much || ++refused % 3 != 0 ? std::optional(-ENOSPC) : std::nullopt;
        });
        CHECK(world.run([]() -> task<> {
            pipeline log = co_await opened("/log");
            for (int i = 0; i < 100; ++i) {
                co_await append_durably(log, std::string(100, 'x'));
            }
            CHECK(log.counts().retries > 0);
            CHECK(log.counts().segments_begun == 0);
            CHECK(log.counts().lines_lost == 0);
            co_await log.close();
        }()));
        CHECK(lines_of(contents_of(world, "/log")) == 100);
    }

    TEST_CASE("space that was given in part is given back, whatever it failed for") {
        sim_world world;
        int allocations = 0;
        bool is_given_back = true;
        world.script([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode == IORING_OP_FALLOCATE && ++allocations > 1 && allocations < 5) {
                is_given_back = false;
                return -EIO;
            }
            is_given_back = is_given_back || sqe.opcode == opcode_ftruncate;
            CHECK((is_given_back || sqe.opcode != IORING_OP_WRITE));
            return std::nullopt;
        });
        CHECK(world.run([]() -> task<> {
            pipeline log = co_await opened("/log");
            for (int i = 0; i < 400; ++i) {
                co_await append_durably(log, std::string(100, 'x'));
            }
            CHECK(log.counts().retries == 3);
            CHECK(log.counts().segments_begun == 0);
            co_await log.close();
        }()));
        CHECK(allocations > 5);
        CHECK(is_given_back);
    }

    CO_TEST_CASE("zeros that a plain log's earlier writer has left are cut off, and nothing told") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const std::string line = numbered(1, "text");
        fill(path, line + std::string(2 * block - line.size(), '\0'));
        const file_sink_options file{.path = path};
        file_sink sink = co_await file_sink::open(file);
        CHECK(sink.torn_bytes() == 0);
        CHECK(sink.size() == line.size());
        CHECK(contents_of(path) == line);
        CHECK(!std::filesystem::exists(path + ".torn"));
        co_await sink.close();
    }

    CO_TEST_CASE("options that cannot be are named") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        for (const auto& options :
             {file_sink_options{.path = path, .preallocated_bytes = 1},
              file_sink_options{.path = path,
              .numbered = true,
              .preallocated_bytes = file_sink_options::preallocated_bytes_max + 1}}) {
            std::string what;
            try {
                file_sink sink = co_await file_sink::open(options);
            } catch (const std::invalid_argument& error) {
                what = error.what();
            }
            CHECK(what.find("preallocated_bytes") != std::string::npos);
        }
        CHECK(!std::filesystem::exists(path));
    }
}

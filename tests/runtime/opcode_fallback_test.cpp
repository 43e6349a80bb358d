// opcode_fallback, and the rest of what uring_ring does where an older kernel lacks something.
#include "opcode_fallback.hpp"
#include "sqe_calls.hpp"
#include "uring_ring.hpp"

#include "support/temporary_directory.hpp"

#include <sapwood/file.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <array>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using sapwood::uring_ring;
using sapwood::test::contents_of;
using sapwood::test::temporary_directory;

/// Runs `body` on a kernel's ring that lacks what `missing` withholds; not where there is none.
template <class Body>
void run_without(uring_ring::options missing, Body&& body) {
    std::unique_ptr<uring_ring> ring;
    try {
        ring = std::make_unique<uring_ring>(missing);
    } catch (const std::system_error& refused) {
        MESSAGE("skipped: " << refused.what());
        return;
    }
    sapwood::event_loop loop(std::move(ring));
    loop.run(body());
}

/// All that can be withheld.
std::uint64_t all_performed() {
    std::uint64_t opcodes = 0;
    for (unsigned opcode = 0; opcode < 64; ++opcode) {
        // Not READ, which the stand-ins are, and which every kernel with a ring we use has.
        if (sapwood::detail::is_performed(static_cast<std::uint8_t>(opcode)) &&
            opcode != IORING_OP_READ) {
            opcodes |= std::uint64_t{1} << opcode;
        }
    }
    return opcodes;
}

sapwood::task<> use_a_file(std::string path, std::string moved) {
    auto file = co_await sapwood::file::open(path, {.flags = O_RDWR | O_CREAT});
    co_await file.write_all(std::string_view("heartwood"));
    co_await file.datasync();
    co_await file.truncate(5);
    const auto status = co_await file.stat();
    CHECK(status.size == 5);
    co_await sapwood::rename_file(path, moved);
    co_await file.close();
    const auto missing = co_await sapwood::as_result(sapwood::file::open(path));
    CHECK(missing.error() == std::errc::no_such_file_or_directory);
}

sapwood::task<> open_and_cancel(const std::string& path, bool& was_cancelled) {
    auto opening = sapwood::spawn([](const std::string& name) -> sapwood::task<> {
        (void)co_await sapwood::file::open(name);
    }(path));
    for (int turn = 0; turn < 50; ++turn) {
        co_await sapwood::yield();
    }
    opening.cancel();
    try {
        co_await std::move(opening);
    } catch (const sapwood::cancelled&) {
        was_cancelled = true;
    }
}

} // namespace

TEST_SUITE("opcode_fallback") {

    TEST_CASE("a truncation works where the kernel's ring knows none") {
        const temporary_directory folder;
        run_without({.opcodes_withheld = std::uint64_t{1} << sapwood::detail::opcode_ftruncate},
                    [&] { return use_a_file(folder / "log", folder / "log.1"); });
        CHECK(contents_of(folder / "log.1") == "heart");
    }

    TEST_CASE("every operation on files works without the kernel's ring knowing it") {
        const temporary_directory folder;
        run_without({.opcodes_withheld = all_performed()},
                    [&] { return use_a_file(folder / "log", folder / "log.1"); });
        CHECK(contents_of(folder / "log.1") == "heart");
    }

    TEST_CASE("an operation that a thread carries out can be cancelled") {
        const temporary_directory folder;
        const std::string path = folder / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        for (int round = 0; round < 20; ++round) {
            bool was_cancelled = false;
            bool ran = false;
            run_without({.opcodes_withheld = std::uint64_t{1} << IORING_OP_OPENAT}, [&] {
                ran = true;
                return open_and_cancel(path, was_cancelled);
            });
            CHECK(was_cancelled == ran);
        }
    }

    TEST_CASE("a loop that is never idle sees completions that came in the midst of other calls") {
        run_without({.setup_withheld = IORING_SETUP_DEFER_TASKRUN,
                     .opcodes_withheld = std::uint64_t{1} << sapwood::detail::opcode_ftruncate},
                    []() -> sapwood::task<> {
                        std::array<int, 2> ends{};
                        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
                        sapwood::file from(ends[0]);
                        const sapwood::file to(ends[1]);
                        auto read = [&]() -> sapwood::task<> {
                            std::array<char, 1> byte{};
                            (void)co_await from.read_some(byte);
                        };
                        auto reader = sapwood::spawn(read());
                        for (int turn = 0; turn < 10; ++turn) {
                            co_await sapwood::yield();
                        }
                        REQUIRE(::write(to.fd(), "x", 1) == 1); // and it has completed
                        for (int turn = 0; turn < 10; ++turn) {
                            co_await sapwood::yield();
                        }
                        CHECK(reader.done());
                        co_await reader;
                        co_await from.close();
                    });
    }

    TEST_CASE("a wait ends at its deadline where the kernel knows no deadline of a wait") {
        run_without({.features_withheld = IORING_FEAT_EXT_ARG}, []() -> sapwood::task<> {
            for (int round = 0; round < 20; ++round) {
                const auto before = sapwood::clock::now();
                co_await sapwood::sleep_for(1ms);
                CHECK(sapwood::clock::now() - before >= 1ms);
            }
        });
    }

    TEST_CASE("the report tells what is done in another way") {
        std::optional<uring_ring> ring;
        try {
            ring.emplace(
                uring_ring::options{.features_withheld = IORING_FEAT_EXT_ARG,
                                    .opcodes_withheld = std::uint64_t{1} << IORING_OP_OPENAT});
        } catch (const std::system_error& refused) {
            MESSAGE("skipped: " << refused.what());
            return;
        }
        const doctest::String report = ring->report().c_str();
        CHECK(report == doctest::Contains("a timeout per wait"));
        CHECK(report == doctest::Contains("threads for what the kernel lacks"));
    }
}

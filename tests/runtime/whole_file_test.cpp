// Whole files: read to their end, replaced in one step or not at all; and temporary ones.
#include "sqe_calls.hpp"

#include "support/scripted_ring.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/whole_file.hpp>

#include <cerrno>
#include <cstdlib>
#include <doctest/doctest.h>
#include <functional>
#include <memory>
#include <optional>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using sapwood::read_whole_file;
using sapwood::task;
using sapwood::write_whole_file;
using sapwood::test::contents_of;
using sapwood::test::fill;
using sapwood::test::temporary_directory;

long entries_in(const std::string& folder) {
    return std::distance(std::filesystem::directory_iterator(folder), {});
}

unsigned mode_of(const std::string& path) {
    struct stat status {};

    ::stat(path.c_str(), &status);
    return status.st_mode & 07777;
}

task<std::string> reason_of(task<> work) {
    try {
        co_await std::move(work);
    } catch (const std::system_error& failure) {
        co_return failure.what();
    }
    co_return "it did not fail";
}

task<> read_it(std::string path, std::size_t bytes_max) {
    (void)co_await read_whole_file(std::move(path), bytes_max);
}

task<> keep_reason(task<> work, std::string& why) {
    why = co_await reason_of(std::move(work));
}

/// What `work` asks the kernel to do to files, in order. `sync_value` is what a sync gives instead
/// of its own result; `first` may answer any operation in the kernel's stead.
std::string
steps_of(task<> work, std::int32_t sync_value = 0,
         const std::function<std::optional<std::int32_t>(const io_uring_sqe&)>& first = nullptr) {
    std::string steps;
    auto ring = std::make_unique<sapwood::test::scripted_ring>();
    ring->wait_for_thread = [of = ring.get()] {
        const io_uring_sqe wake = of->in_flight().front();
        of->complete(wake.user_data, sapwood::detail::perform(wake, true));
    };
    ring->answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
        if (const auto value = first ? first(sqe) : std::nullopt) {
            return value;
        }
        switch (sqe.opcode) {
        case IORING_OP_WRITE:
            steps += "write ";
            break;
        case IORING_OP_FSYNC:
            steps += "fsync ";
            if (sync_value != 0) {
                return sync_value;
            }
            break;
        case IORING_OP_RENAMEAT:
            steps += "rename ";
            break;
        case IORING_OP_UNLINKAT:
            steps += "unlink ";
            break;
        default:
            break;
        }
        if (sqe.opcode == IORING_OP_READ) {
            return std::nullopt; // the loop's own, which waits for other threads
        }
        return sapwood::detail::perform(sqe, true);
    };
    sapwood::event_loop loop(std::move(ring));
    loop.run(std::move(work));
    return steps;
}

} // namespace

TEST_SUITE("whole_file") {

    TEST_CASE("a file is read whole, also where its size is not known before") {
        const temporary_directory in;
        const std::string large(300'000, 'x');
        fill(in / "large", large);
        fill(in / "empty", "");
        sapwood::run([](const temporary_directory& at, const std::string& wanted) -> task<> {
            const auto all = co_await read_whole_file(at / "large");
            CHECK((all == wanted));
            const auto exact = co_await read_whole_file(at / "large", wanted.size());
            CHECK(exact.size() == wanted.size());
            const auto none = co_await read_whole_file(at / "empty");
            CHECK(none == "");
            // /proc says that its files are empty.
            const auto status = co_await read_whole_file("/proc/self/status");
            CHECK(status.find("\nPid:") != status.npos);
            auto why = co_await reason_of(read_it(at / "large", wanted.size() - 1));
            CHECK(why == "cannot read " + at / "large" +
                             ": it has more than 299999 bytes: File too large");
            why = co_await reason_of(read_it("/proc/self/status", 10));
            CHECK(why.find("more than 10 bytes") != why.npos);
            why = co_await reason_of(read_it(at / "none", 10));
            CHECK(why.find("/none for reading: No such file") != why.npos);
        }(in, large));
    }

    TEST_CASE("a file is replaced by another in one step, with its permissions") {
        const temporary_directory in;
        fill(in / "oak", "old");
        ::chmod((in / "oak").c_str(), 0664);
        ::link((in / "oak").c_str(), (in / "old").c_str());
        sapwood::run([](const temporary_directory& at) -> task<> {
            co_await write_whole_file(at / "oak", std::string_view("new"));
            co_await write_whole_file(at / "fresh", std::string_view(""), {.durable = false});
            co_await write_whole_file(at / "shared", std::string_view("x"), {.mode = 0644});
        }(in));
        CHECK(contents_of(in / "oak") == "new");
        CHECK(contents_of(in / "old") == "old"); // another file: it was not written over
        CHECK(mode_of(in / "oak") == 0664);
        CHECK(mode_of(in / "fresh") == 0600);
        CHECK(mode_of(in / "shared") == 0644);
        CHECK(entries_in(in / ".") == 4);
    }

    TEST_CASE("what sets the user or the group is not taken over, but can be asked for") {
        const temporary_directory in;
        fill(in / "oak", "old");
        fill(in / "ash", "old");
        REQUIRE(::chmod((in / "oak").c_str(), 06755) == 0);
        (void)steps_of(write_whole_file(in / "oak", std::string_view("")));
        CHECK(mode_of(in / "oak") == 0755);
        // Nothing is written to it, because that takes the bits from a file that is not root's.
        (void)steps_of(write_whole_file(in / "ash", std::string_view(""), {.mode = 04700}));
        CHECK(mode_of(in / "ash") == 04700);
    }

    TEST_CASE("a name as long as the file system has it can be written, in whole characters") {
        const temporary_directory in;
        const std::string plain(255, 'n');
        std::string wide = "n";
        while (wide.size() < 255) {
            wide += "\xc3\xa4"; // two bytes
        }
        std::string made;
        const auto see = [&](const io_uring_sqe& sqe) {
            if (sqe.opcode == IORING_OP_RENAMEAT) {
                made = reinterpret_cast<const char*>(sqe.addr);
            }
            return std::optional<std::int32_t>();
        };
        (void)steps_of(write_whole_file(in / plain, std::string_view("oak")), 0, see);
        CHECK(contents_of(in / plain) == "oak");
        CHECK(made.size() == 255);
        (void)steps_of(write_whole_file(in / wide, std::string_view("ash")), 0, see);
        CHECK(contents_of(in / wide) == "ash");
        CHECK(made.substr(0, 3) == ".n\xc3");
        CHECK(made.find(wide.substr(0, 237) + ".") == 1); // 237 ends with a whole character
        (void)steps_of(write_whole_file(in / wide.substr(1), std::string_view("elm")), 0, see);
        CHECK(made.find(wide.substr(1, 236) + ".") == 1); // 237 would not
    }

    TEST_CASE("where every name is taken, what has the names is left alone") {
        const temporary_directory in;
        std::string why;
        int tries = 0;
        const std::string steps =
            steps_of(keep_reason(write_whole_file(in / "oak", std::string_view("new")), why), 0,
                     [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                         if (sqe.opcode == IORING_OP_OPENAT && (sqe.open_flags & O_CREAT) != 0) {
                             ++tries;
                             return -EEXIST;
                         }
                         return std::nullopt;
                     });
        CHECK(tries == 8);
        CHECK(steps == "");
        CHECK(why == "cannot write " + in / "oak" + ": File exists");
    }

    TEST_CASE("a temporary file is nameless where it must have a name first, also when cancelled") {
        const temporary_directory in;
        bool was_made = false;
        sapwood::join_handle<sapwood::file> opening;
        const auto without_tmpfile = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode != IORING_OP_OPENAT) {
                return std::nullopt;
            }
            if ((sqe.open_flags & O_TMPFILE) == O_TMPFILE) {
                return -EOPNOTSUPP;
            }
            was_made = true;
            opening.cancel(); // when it is too late: the file is made all the same
            return std::nullopt;
        };
        auto body = [&]() -> task<> {
            opening = sapwood::spawn(sapwood::open_temporary_file(in / "."));
            try {
                const auto made = co_await opening;
                CHECK(made.is_open());
            } catch (const sapwood::cancelled&) {
            }
        };
        CHECK(steps_of(body(), 0, without_tmpfile) == "unlink ");
        CHECK(was_made);
        CHECK(entries_in(in / ".") == 0);
    }

    TEST_CASE("a symbolic link is replaced, not followed") {
        const temporary_directory in;
        fill(in / "target", "kept");
        ::symlink("target", (in / "link").c_str());
        sapwood::run([](const temporary_directory& at) -> task<> {
            co_await write_whole_file(at / "link", std::string_view("new"));
        }(in));
        CHECK(contents_of(in / "target") == "kept");
        CHECK(contents_of(in / "link") == "new");
        CHECK_FALSE(std::filesystem::is_symlink(in / "link"));
    }

    TEST_CASE("where writing fails the old file is as it was, and nothing is left beside it") {
        const temporary_directory in;
        fill(in / "oak", "old");
        rlimit before{};
        ::getrlimit(RLIMIT_FSIZE, &before);
        const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
        sapwood::run([](const temporary_directory& at, rlimit limit, rlimit old) -> task<> {
            ::setrlimit(RLIMIT_FSIZE, &limit);
            const std::string bytes(10'000, 'x');
            const std::string why = co_await reason_of(write_whole_file(at / "oak", bytes));
            ::setrlimit(RLIMIT_FSIZE, &old);
            CHECK(why == "cannot write " + at / "oak" + ": File too large");
            std::filesystem::create_directory(at / "folder");
            const std::string taken =
                co_await reason_of(write_whole_file(at / "folder", std::string_view("x")));
            CHECK(taken.find("Is a directory") != taken.npos);
        }(in, small, before));
        CHECK(contents_of(in / "oak") == "old");
        CHECK(entries_in(in / ".") == 2);
    }

    TEST_CASE("the file is synced before it has its name, and the directory afterwards") {
        const temporary_directory in;
        CHECK(steps_of(write_whole_file(in / "oak", std::string_view("new"))) ==
              "write fsync rename fsync ");
        CHECK(steps_of(write_whole_file(in / "oak", std::string_view("x"), {.durable = false})) ==
              "write rename ");
        CHECK(contents_of(in / "oak") == "x");
    }

    TEST_CASE("a file that could not be synced does not get the name") {
        const temporary_directory in;
        fill(in / "oak", "old");
        std::string why;
        CHECK(steps_of(keep_reason(write_whole_file(in / "oak", std::string_view("new")), why),
                       -EIO) == "write fsync unlink ");
        CHECK(why == "cannot write " + in / "oak" + ": Input/output error");
        CHECK(contents_of(in / "oak") == "old");
        CHECK(entries_in(in / ".") == 1);
    }

    TEST_CASE("cancelled at any moment, the file is the old or the new, and alone") {
        const temporary_directory in;
        fill(in / "oak", "old");
        sapwood::run([](const temporary_directory& at) -> task<> {
            int replaced = 0;
            for (int turns = 0; turns < 60; ++turns) {
                const std::string fresh = "new " + std::to_string(turns);
                const std::string old = contents_of(at / "oak");
                auto writing = sapwood::spawn(write_whole_file(at / "oak", fresh));
                for (int turn = 0; turn < turns * turns; ++turn) {
                    co_await sapwood::yield();
                }
                writing.cancel();
                bool was_cancelled = false;
                try {
                    co_await writing;
                } catch (const sapwood::cancelled&) {
                    was_cancelled = true;
                }
                const std::string found = contents_of(at / "oak");
                CHECK((found == fresh || (was_cancelled && found == old)));
                CHECK(entries_in(at / ".") == 1);
                replaced += found == fresh ? 1 : 0;
            }
            CHECK(replaced < 60); // at once, it was stopped before it began
        }(in));
    }

    TEST_CASE("a temporary file has no name and keeps what is written") {
        const temporary_directory in;
        sapwood::run([](const temporary_directory& at) -> task<> {
            auto made = co_await sapwood::open_temporary_file(at / ".");
            CHECK(entries_in(at / ".") == 0);
            co_await made.write_all(std::string_view("oak"), {0});
            char bytes[3] = {};
            const auto got = co_await made.read_some(bytes, {0});
            CHECK(std::string_view(bytes, got) == "oak");
            const auto status = co_await made.stat();
            CHECK(status.links == 0);
            auto anywhere = co_await sapwood::open_temporary_file();
            CHECK(anywhere.is_open());
        }(in));
    }

    TEST_CASE("temporary directories are each another, and private") {
        const temporary_directory in;
        sapwood::run([](const temporary_directory& at) -> task<> {
            const auto one = co_await sapwood::make_temporary_directory(at / "wood.");
            const auto other = co_await sapwood::make_temporary_directory(at / "wood.");
            CHECK(one != other);
            CHECK(one.starts_with(at / "wood."));
            CHECK(mode_of(one) == 0700);
        }(in));
        CHECK(entries_in(in / ".") == 2);
    }
}

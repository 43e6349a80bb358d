// file_sink: the file follows its name, says what has become of it, once, and keeps its lock where
// somebody else still writes the file.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/numbered_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/crash_file.hpp>
#include <sapwood/directory.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sim_world.hpp>
#include <sapwood/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <liburing.h>
#include <linux/openat2.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::file_sink;
using sapwood::file_sink_options;
using sapwood::log_news;
using sapwood::lsn;
using sapwood::task;
using sapwood::detail::crash_file;
using sapwood::test::contents_of;
using sapwood::test::fill;
using sapwood::test::loop_with_writes;
using sapwood::test::perform;
using sapwood::test::temporary_directory;

constexpr std::uint8_t opcode_ftruncate = 55; // Linux 6.9

task<file_sink> opened(const std::string& path) {
    const file_sink_options options{.path = path};
    co_return co_await file_sink::open(options);
}

/// What a look at the name tells when it is time for one.
task<std::string> news_of(file_sink& sink) {
    co_await sapwood::sleep_for(1s);
    const log_news news = co_await sink.follow();
    co_return news.text;
}

task<> write(file_sink& sink, std::string lines) {
    co_await sink.write(lines);
}

dev_t device_of(const std::string& path) {
    struct stat status {};

    return ::stat(path.c_str(), &status) == 0 ? status.st_dev : 0;
}

bool is_locked(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    const bool is_free = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    ::close(fd);
    return !is_free;
}

/// How often this thread has slept while it is not negative; then nobody waits for that.
thread_local int waits_counted = -1;

/// A log whose end is torn is looked at again. During each operation of that a handler may do
/// something, and before: it writes the second line, which stays, behind what is torn.
void check_torn_end(
    const std::string& at, const std::function<void(crash_file&, const io_uring_sqe&)>& meanwhile,
    const std::function<void(crash_file&)>& before = [](crash_file&) {}) {
    loop_with_writes loop(perform);
    loop.run([](loop_with_writes& on, const std::string& path, const auto& during,
                const auto& first) -> task<> {
        const std::string one = sapwood::test::numbered(1, "one");
        crash_file notes;
        const file_sink_options options{.path = path, .numbered = true};
        file_sink sink = co_await file_sink::open(options);
        sink.note_in(notes);
        co_await sink.write(one);
        std::ofstream(path, std::ios::app) << "torn";
        first(notes);
        on.ring().answer = [&](const io_uring_sqe& sqe) {
            during(notes, sqe);
            return perform(sqe);
        };
        std::error_code failure;
        try {
            (void)co_await sink.recover_again(lsn{1});
        } catch (const std::system_error& error) {
            failure = error.code();
        }
        CHECK(failure == std::errc::device_or_resource_busy);
        CHECK(contents_of(path) == one + "torn\n" + sapwood::test::numbered(2, "two"));
        CHECK(contents_of(path + ".torn").empty());
        const std::vector<lsn> found = co_await sink.recover_again(lsn{1});
        CHECK(found.size() == 2);
        CHECK(found.back() == lsn{2});
        co_await sink.close();
    }(loop, at, meanwhile, before));
}

} // namespace

/// In the place of the C library's, which makes the same call.
extern "C" int nanosleep(const timespec* time, timespec* left) {
    if (waits_counted >= 0) {
        ++waits_counted;
        return 0;
    }
    return static_cast<int>(::syscall(SYS_nanosleep, time, left));
}

TEST_SUITE("file_sink_name") {
    CO_TEST_CASE("the name is looked at twice a second, or as soon as somebody wants it") {
        const temporary_directory folder;
        file_sink sink = co_await opened(folder / "log");
        CHECK(!sink.follow_is_due());
        co_await sapwood::sleep_for(499ms);
        CHECK(!sink.follow_is_due());
        co_await sapwood::sleep_for(1ms);
        CHECK(sink.follow_is_due());
        (void)co_await sink.follow();
        CHECK(!sink.follow_is_due());
        sink.look_soon();
        CHECK(sink.follow_is_due());
        co_await sink.close();
    }

    CO_TEST_CASE("what is to be told does not keep the name from being looked at") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(path, "one\ntorn");
        file_sink sink = co_await opened(path);
        sink.tell_torn();
        std::filesystem::rename(path, path + ".1");
        CHECK((co_await news_of(sink)).find("the last 4 bytes of ") == 0);
        CHECK(sink.counts().reopened == 1);
        const log_news news = co_await sink.follow();
        CHECK(news.text.find("was renamed or removed") != news.text.npos);
        co_await sink.close();
    }

    TEST_CASE("a look that fails for want of something is told the fourth time, others at once") {
        for (const int failure : {EAGAIN, ENOMEM, ENFILE, EACCES}) {
            CAPTURE(failure);
            sapwood::sim_world world({.seed = 1});
            CHECK(world.run([](sapwood::sim_world& on, int why) -> task<> {
                file_sink sink = co_await opened("/log");
                on.script([why](const io_uring_sqe& sqe) {
                    return sqe.opcode == IORING_OP_STATX ? std::optional(-why) : std::nullopt;
                });
                int silent = 0;
                while (co_await news_of(sink) == "") {
                    ++silent;
                }
                CHECK(silent == (why == EACCES ? 0 : 3));
                on.script({});
                co_await sink.close();
            }(world, failure)));
        }
    }

    TEST_CASE("what a failed write has left of a line does not stay in a file that lost its name") {
        for (const bool is_never : {false, true}) { // can it be cut off
            CAPTURE(is_never);
            sapwood::sim_world world({.seed = 1});
            CHECK(world.run([](sapwood::sim_world& on, bool never) -> task<> {
                file_sink sink = co_await opened("/log");
                on.add({.to = 1h, .error = ENOSPC, .bytes_left = 8});
                on.script([](const io_uring_sqe& sqe) {
                    const bool cuts = sqe.opcode == opcode_ftruncate;
                    return cuts ? std::optional(-EIO) : std::nullopt;
                });
                bool has_failed = false;
                try {
                    co_await sink.write(std::string_view("one\ntwo and more\n"));
                } catch (const sapwood::write_error& error) {
                    has_failed = error.bytes_kept == 4;
                }
                CHECK(has_failed);
                CHECK(on.contents("/log")->size() > 4); // it cannot be cut off now
                if (!never) {
                    on.script({});
                }
                on.heal();
                co_await sapwood::rename_file("/log", "/log.1");
                (void)co_await sink.reopen();
                on.script({});
                CHECK((on.contents("/log.1") == "one\n") == !never);
                co_await write(sink, "two\n");
                co_await write(sink, "three\n");
                CHECK(on.contents("/log") == "two\nthree\n"); // nothing is cut off this one
                co_await sink.close();
            }(world, is_never)));
        }
    }

    CO_TEST_CASE("of a preallocated log it is seen by its name, too, that somebody has cut it") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const file_sink_options options{
            .path = path, .numbered = true, .preallocated_bytes = 1 << 20};
        file_sink sink = co_await file_sink::open(options);
        if (!sink.is_preallocated()) {
            co_return; // the file system cannot
        }
        for (std::uint64_t cuts = 1; cuts <= 2; ++cuts) {
            std::filesystem::resize_file(path, 10);
            for (int looks = 0; looks < 2; ++looks) { // it is counted once
                CHECK(co_await news_of(sink) == "");
                CHECK(sink.counts().truncated == cuts);
            }
            co_await sink.begin_segment({}, {}, lsn{cuts});
        }
        co_await sink.close();
    }

    TEST_CASE(
        "a log that is numbered, or has segments, is opened beneath its directory, and through no "
        "link") {
        for (const bool is_numbered : {true, false}) {
            CAPTURE(is_numbered);
            const temporary_directory folder;
            loop_with_writes loop(perform);
            loop.run([](loop_with_writes& on, std::string path, bool numbered) -> task<> {
                std::vector<std::string> ways;
                on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    const auto* const name = reinterpret_cast<const char*>(sqe.addr);
                    if (sqe.opcode == IORING_OP_OPENAT2) {
                        CHECK(reinterpret_cast<const open_how*>(sqe.off)->resolve ==
                              (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS));
                        ways.emplace_back(name);
                    }
                    const bool is_plain = sqe.opcode == IORING_OP_OPENAT &&
                                          (sqe.open_flags & O_PATH) == 0; // for its status
                    CHECK(!(is_plain && std::string_view(name).starts_with(path)));
                    return perform(sqe);
                };
                const file_sink_options options{
                    .path = path, .numbered = numbered, .has_segments = true};
                file_sink sink = co_await file_sink::open(options);
                CHECK(ways == std::vector<std::string>{"log", "log"}); // is there none? then made
                ways.clear();
                co_await sink.begin_segment({}, {}, lsn{1});
                CHECK(ways == std::vector<std::string>{"log.next"});
                ways.clear();
                std::filesystem::remove(path);
                (void)co_await sink.reopen();
                CHECK(ways == std::vector<std::string>{"log", "log"});
                co_await sink.close();
            }(loop, folder / "log", is_numbered));
        }
    }

    CO_TEST_CASE("a directory that becomes a link is not followed, whatever the log is to do") {
        for (const bool is_numbered : {true, false}) {
            CAPTURE(is_numbered);
            const temporary_directory folder;
            std::filesystem::create_directory(folder / "logs");
            std::filesystem::create_directory(folder / "planted");
            const std::string path = folder / "logs/log";
            const std::string line = sapwood::test::numbered(1, "one");
            const file_sink_options options{
                .path = path, .numbered = is_numbered, .has_segments = true};
            file_sink sink = co_await file_sink::open(options);
            std::filesystem::rename(folder / "logs", folder / "moved");
            std::filesystem::create_symlink(folder / "planted", folder / "logs");

            CHECK((co_await news_of(sink)).find("its directory has become a symbolic link") !=
                  std::string::npos);
            CHECK(sink.counts().reopened == 0);
            std::error_code segment;
            try {
                co_await sink.begin_segment(line, {}, lsn{1});
            } catch (const std::system_error& error) {
                segment = error.code();
            }
            CHECK(segment == std::errc::too_many_symbolic_link_levels);
            std::error_code rotation;
            try {
                co_await sink.rotate(path + ".1", true);
            } catch (const std::system_error& error) {
                rotation = error.code();
            }
            CHECK(rotation == std::errc::no_such_file_or_directory);
            co_await write(sink, line);
            CHECK(contents_of(folder / "moved/log") == line);
            CHECK(std::filesystem::is_empty(folder / "planted"));

            std::filesystem::remove(folder / "logs");
            std::filesystem::rename(folder / "moved", folder / "logs");
            CHECK(co_await news_of(sink) == "");
            co_await sink.begin_segment(line, {}, lsn{1});
            CHECK(contents_of(path) == line);
            co_await sink.close();
        }
    }

    CO_TEST_CASE("a directory that is a link when the log begins stays one, wherever it leads to") {
        const temporary_directory folder;
        std::filesystem::create_directory(folder / "one");
        std::filesystem::create_directory(folder / "two");
        std::filesystem::create_symlink(folder / "one", folder / "logs");
        const std::string path = folder / "logs/log";
        const file_sink_options options{.path = path, .has_segments = true};
        file_sink sink = co_await file_sink::open(options);
        co_await write(sink, "one\n");
        std::filesystem::remove(folder / "logs");
        std::filesystem::create_symlink(folder / "two", folder / "logs");
        (void)co_await news_of(sink);
        co_await write(sink, "two\n");
        CHECK(contents_of(folder / "one/log") == "one\n");
        CHECK(contents_of(folder / "two/log") == "two\n");
        co_await sink.close();
    }

    CO_TEST_CASE("a directory that is none is named, whether a link leads there or not") {
        const temporary_directory folder;
        fill(folder / "file", "");
        std::filesystem::create_symlink(folder / "file", folder / "link");
        for (const std::string name : {"file", "link"}) {
            std::error_code failure;
            std::string what;
            try {
                const std::string path = folder / (name + "/log");
                const file_sink_options options{.path = path, .has_segments = true};
                (void)co_await file_sink::open(options);
            } catch (const std::system_error& error) {
                failure = error.code();
                what = error.what();
            }
            CAPTURE(what);
            CHECK(failure == std::errc::not_a_directory);
            CHECK(what.find(folder / (name + "/log")) != std::string::npos);
        }
    }

    CO_TEST_CASE("a file that somebody has cut is told of, and how much") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path);
        co_await write(sink, "0123456789\n");
        CHECK(co_await news_of(sink) == "");
        std::filesystem::resize_file(path, 4);
        CHECK(co_await news_of(sink) == "somebody has cut 7 bytes off " + path);
        CHECK(sink.size() == 4);
        CHECK(sink.counts().truncated == 1);
        CHECK(co_await news_of(sink) == "");
        CHECK(sink.counts().truncated == 1);
        co_await sink.close();
    }

    CO_TEST_CASE("a name that cannot be had is told of once, and again after it was the log's") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path);
        const auto take_away = [&] {
            std::filesystem::rename(path, folder / "aside");
            std::filesystem::create_directory(path);
        };
        take_away();
        CHECK((co_await news_of(sink)).find("lost its name") != std::string::npos);
        CHECK(co_await news_of(sink) == "");
        std::filesystem::remove(path);
        std::filesystem::rename(folder / "aside", path);
        CHECK(co_await news_of(sink) == "");
        take_away();
        CHECK((co_await news_of(sink)).find("lost its name") != std::string::npos);
        co_await write(sink, "line\n");
        CHECK(contents_of(folder / "aside") == "line\n");
        CHECK(sink.counts().reopened == 0);
        co_await sink.close();
    }

    CO_TEST_CASE("a log that is a link goes on in another file system, and is at home there") {
        const temporary_directory folder;
        const std::string there =
            "/dev/shm/sapwood-test-" +
            std::filesystem::path(folder / "").parent_path().filename().string();
        if (device_of("/dev/shm") == 0 || device_of("/dev/shm") == device_of(folder / "")) {
            MESSAGE("skipped: /dev/shm is no file system of its own");
            co_return;
        }
        const std::string path = folder / "log";
        std::filesystem::create_symlink(folder / "here", path);
        fill(folder / "here", "");
        file_sink sink = co_await opened(path);
        std::filesystem::remove(path);
        std::filesystem::create_symlink(there, path);
        fill(there, "");
        (void)co_await news_of(sink);
        CHECK(sink.counts().reopened == 1);
        CHECK(co_await news_of(sink) == "");
        CHECK(sink.counts().reopened == 1);
        co_await write(sink, "line\n");
        CHECK(contents_of(there) == "line\n");
        co_await sink.close();
        std::filesystem::remove(there);
    }

    CO_TEST_CASE("a log that may be no link is not opened through one") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        fill(folder / "elsewhere", "");
        std::filesystem::create_symlink(folder / "elsewhere", path);
        const file_sink_options options{.path = path, .may_be_link = false};
        std::error_code failure;
        try {
            (void)co_await file_sink::open(options);
        } catch (const std::system_error& error) {
            failure = error.code();
        }
        CHECK(failure == std::errc::too_many_symbolic_link_levels);
    }

    CO_TEST_CASE("of a file that has taken the name it is known when it was written to") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path);
        std::filesystem::rename(path, folder / "aside");
        fill(path, "");
        const auto long_ago = std::filesystem::file_time_type::clock::now() - 1h;
        std::filesystem::last_write_time(path, long_ago);
        (void)co_await news_of(sink);
        CHECK(sink.counts().reopened == 1);
        CHECK(sink.modified() < std::chrono::system_clock::now() - 30min);
        co_await sink.close();
    }

    CO_TEST_CASE("another file that has taken the name is not rotated") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        file_sink sink = co_await opened(path);
        std::filesystem::rename(path, folder / "aside");
        fill(path, "somebody's\n");
        std::error_code failure;
        try {
            co_await sink.rotate(folder / "log.1", false);
        } catch (const std::system_error& error) {
            failure = error.code();
        }
        CHECK(failure.value() == ESTALE);
        CHECK(contents_of(path) == "somebody's\n");
        CHECK(!std::filesystem::exists(folder / "log.1"));
        CHECK(sink.counts().rotated == 0);
        co_await sink.close();
    }

    CO_TEST_CASE("what was rotated stays locked while a child has it open") {
        const temporary_directory folder;
        file_sink sink = co_await opened(folder / "log");
        // As a child has it: the same open file.
        const int of_child = ::dup(sink.fd());
        co_await sink.rotate(folder / "log.1", false);
        CHECK(is_locked(folder / "log.1"));
        ::close(of_child);
        CHECK(!is_locked(folder / "log.1"));
        co_await sink.close();
    }

    CO_TEST_CASE("so does what was rotated where the new file begins durably, and no segment") {
        for (const bool is_rotated : {true, false}) {
            CAPTURE(is_rotated);
            const temporary_directory folder;
            const std::string path = folder / "log";
            const file_sink_options options{.path = path, .numbered = true, .has_segments = true};
            file_sink sink = co_await file_sink::open(options);
            co_await write(sink, sapwood::test::numbered(1, "one"));
            const int of_child = ::dup(sink.fd());
            const std::string two = sapwood::test::numbered(2, "two");
            std::string aside;
            if (is_rotated) {
                aside = path + ".aside";
            }
            co_await sink.begin_segment(two, {}, lsn{2}, aside);
            CHECK(is_locked(path + (is_rotated ? ".aside" : ".0000000000000002")) == is_rotated);
            ::close(of_child);
            co_await sink.close();
        }
    }

    CO_TEST_CASE("what was taken away is not locked any more, whoever has it open") {
        const temporary_directory folder;
        file_sink sink = co_await opened(folder / "log");
        const int of_child = ::dup(sink.fd());
        std::filesystem::rename(folder / "log", folder / "log.1");
        (void)co_await news_of(sink);
        CHECK(sink.counts().reopened == 1);
        CHECK(!is_locked(folder / "log.1"));
        CHECK(is_locked(folder / "log"));
        ::close(of_child);
        co_await sink.close();
    }

    CO_TEST_CASE("a log is shared where standard input is closed, too") {
        const temporary_directory folder;
        file_sink sink = co_await opened(folder / "log");
        const int standard_input = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        ::close(STDIN_FILENO);
        {
            file_sink same = co_await file_sink::share(sink, sink.fd());
            CHECK(same.fd() == STDIN_FILENO);
            co_await write(same, "line\n");
            co_await same.close();
        }
        if (standard_input >= 0) {
            ::dup2(standard_input, STDIN_FILENO);
            ::close(standard_input);
        }
        CHECK(contents_of(folder / "log") == "line\n");
        co_await sink.close();
    }

    TEST_CASE("a child does not make the name of a log with segments anew: its parent is at it") {
        for (const bool has_segments : {true, false}) {
            CAPTURE(has_segments);
            const temporary_directory folder;
            const std::string path = folder / "log";
            std::optional<file_sink> sink;
            const auto open = [&]() -> task<> {
                const file_sink_options options{.path = path, .has_segments = has_segments};
                sink.emplace(co_await file_sink::open(options));
            };
            sapwood::run(open());
            // As between the steps of begin_segment, or of a rename by somebody else.
            std::filesystem::rename(path, folder / "log.aside");
            const auto childs = [&]() -> task<> {
                file_sink same = co_await file_sink::share(*sink, sink->fd());
                (void)co_await same.reopen();
                co_await write(same, "child's\n");
                co_await same.close();
            };
            CHECK(sapwood::test::in_child([&]() -> std::string {
                      sapwood::run(childs());
                      return "";
                  }) == "");
            CHECK(std::filesystem::exists(path) == !has_segments);
            CHECK(contents_of(has_segments ? folder / "log.aside" : path) == "child's\n");
            sapwood::run([](file_sink& its) -> task<> { co_await its.close(); }(*sink));
        }
    }

    TEST_CASE("a child makes the name anew where its parent does not for long") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        std::optional<file_sink> sink;
        const auto open = [&]() -> task<> {
            const file_sink_options options{.path = path, .has_segments = true};
            sink.emplace(co_await file_sink::open(options));
        };
        sapwood::run(open());
        std::filesystem::rename(path, folder / "log.aside");
        const auto childs = [&]() -> task<int> {
            file_sink same = co_await file_sink::share(*sink, sink->fd());
            int looks = 0;
            for (const std::uint64_t times : {1u, 2u}) { // each time as long
                while (same.counts().reopened < times && looks < 100) {
                    ++looks;
                    (void)co_await same.reopen();
                }
                CHECK(!is_locked(path)); // the parent may follow
                if (times == 1) {
                    std::filesystem::rename(path, folder / "log.first");
                }
            }
            co_await write(same, "child's\n");
            co_await same.close();
            co_return looks;
        };
        CHECK(sapwood::test::in_child([&] { return std::to_string(sapwood::run(childs())); }) ==
              "40");
        CHECK(contents_of(path) == "child's\n");
        sapwood::run([](file_sink& its) -> task<> { co_await its.close(); }(*sink));
    }

    TEST_CASE("a child whose parent is gone makes the name anew, whatever the log has") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        const pid_t parent = ::fork();
        REQUIRE(parent >= 0);
        if (parent == 0) {
            std::optional<file_sink> sink;
            const auto open = [&]() -> task<> {
                const file_sink_options options{.path = path, .has_segments = true};
                sink.emplace(co_await file_sink::open(options));
            };
            sapwood::run(open());
            std::filesystem::rename(path, folder / "log.aside");
            const pid_t opener = ::getpid();
            if (::fork() == 0) {
                ::alarm(30);
                while (::kill(opener, 0) == 0) {
                    std::this_thread::yield();
                }
                const auto childs = [&]() -> task<> {
                    file_sink same = co_await file_sink::share(*sink, sink->fd());
                    (void)co_await same.reopen();
                    co_await write(same, "child's\n");
                    co_await same.close();
                };
                sapwood::run(childs());
            }
            ::_exit(0);
        }
        ::close(ends[1]);
        CHECK(::waitpid(parent, nullptr, 0) == parent);
        char byte = 0;
        CHECK(::read(ends[0], &byte, 1) == 0); // its child has ended, too
        ::close(ends[0]);
        CHECK(contents_of(path) == "child's\n");
    }

    CO_TEST_CASE("a file that a handler of crashes has in its turn is not closed under it") {
        enum class change : std::uint8_t { renamed, rotated, closed };
        for (const change how : {change::renamed, change::rotated, change::closed}) {
            for (const bool has_handler : {true, false}) {
                CAPTURE(has_handler);
                const temporary_directory folder;
                const std::string path = folder / "log";
                sapwood::detail::crash_file notes;
                file_sink sink = co_await opened(path);
                sink.note_in(notes);
                std::optional<sapwood::detail::crash_file::turn> at_work;
                if (has_handler) {
                    at_work.emplace(notes);
                }
                const int its = notes.fd();
                if (how == change::renamed) {
                    std::filesystem::rename(path, path + ".1");
                    (void)co_await sink.reopen();
                } else if (how == change::rotated) {
                    co_await sink.rotate(path + ".1", false);
                } else {
                    notes.note_closed();
                    co_await sink.close();
                }
                CHECK(notes.fd() != its);
                CHECK((::fcntl(its, F_GETFD) >= 0) == has_handler);
                if (has_handler) {
                    const std::string old = how == change::closed ? path : path + ".1";
                    CHECK(::write(its, "last\n", 5) == 5);
                    CHECK(contents_of(old) == "last\n");
                    ::close(its);
                }
                at_work.reset();
                if (how != change::closed) {
                    co_await sink.close();
                }
            }
        }
    }

    TEST_CASE("what a handler writes before a piece of ours is cut off, or behind that, stays") {
        for (const std::uint8_t comes_at : {std::uint8_t{IORING_OP_STATX}, opcode_ftruncate}) {
            CAPTURE(comes_at);
            const temporary_directory folder;
            loop_with_writes loop(perform);
            loop.run([](loop_with_writes& on, const std::string& path, std::uint8_t at) -> task<> {
                sapwood::detail::crash_file notes;
                file_sink sink = co_await opened(path);
                sink.note_in(notes);
                int writes = 0;
                bool has_come = false;
                on.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    if (sqe.opcode == IORING_OP_WRITE && !has_come) {
                        return ++writes == 1 ? sapwood::test::perform_some(sqe, 6)
                                             : std::optional(-ENOSPC);
                    }
                    const auto done = perform(sqe);
                    if (sqe.opcode == at && writes == 2 && !std::exchange(has_come, true)) {
                        CHECK(notes.write(std::string_view("last words\n")));
                    }
                    return done;
                };
                try {
                    co_await sink.write(std::string_view("one\ntwo\n"));
                    FAIL_CHECK("a full disk took it");
                } catch (const sapwood::write_error& error) {
                    CHECK(error.bytes_kept == 4);
                }
                co_await sink.write(std::string_view("three\n"));
                CHECK(contents_of(path) == (at == IORING_OP_STATX ? "one\ntw\nlast words\nthree\n"
                                                                  : "one\nlast words\nthree\n"));
                co_await sink.close();
            }(loop, folder / "log", comes_at));
        }
    }

    TEST_CASE("what a handler writes while a torn end is moved aside stays, and is seen again") {
        bool has_come = false;
        const temporary_directory folder;
        check_torn_end(folder / "log", [&](crash_file& notes, const io_uring_sqe& sqe) {
            // To the file beside it.
            if (sqe.opcode == IORING_OP_WRITE && !std::exchange(has_come, true)) {
                CHECK(notes.write(sapwood::test::numbered(2, "two")));
            }
        });
        CHECK(has_come);
    }

    TEST_CASE("what a handler that is at work already writes meanwhile is not cut off either") {
        std::optional<crash_file::turn> at_work;
        bool has_ended = false;
        const temporary_directory folder;
        check_torn_end(
            folder / "log",
            [&](crash_file& notes, const io_uring_sqe& sqe) {
                if (sqe.opcode == IORING_OP_READ && at_work) {
                    const std::string two = sapwood::test::numbered(2, "two");
                    CHECK(notes.put(two) == two.size());
                    at_work.reset();
                    has_ended = true;
                }
            },
            [&](crash_file& notes) { at_work.emplace(notes); });
        CHECK(has_ended);
    }

    CO_TEST_CASE("for a cut that nobody ends one handler waits, and none behind it") {
        for (const std::uint64_t end : {0u, 100u}) { // it seems to be to come, or done already
            CAPTURE(end);
            const temporary_directory folder;
            const std::string path = folder / "log";
            sapwood::detail::crash_file notes;
            file_sink sink = co_await opened(path);
            sink.note_in(notes);
            const std::string line = std::string(150, 'x') + "\n";
            if (end == 0) {
                co_await sink.write(line);
            }
            notes.begin_cut(end); // on the handler's own thread, which does not go on
            unsigned waits = 0;
            for (int turn = 0; turn < 3; ++turn) {
                waits_counted = 0;
                CHECK(notes.write(line));
                waits += std::exchange(waits_counted, -1) > 0 ? 1 : 0;
            }
            CHECK(waits == (end == 0 ? 1 : 0));
            co_await sink.close();
        }
    }

    CO_TEST_CASE("a name is found for what is set aside, however many are taken") {
        for (const int taken : {0, 1, 15, 16, 17, 18, 1000, 1234}) {
            CAPTURE(taken);
            const temporary_directory folder;
            const std::string path = folder / "log";
            const std::string name = path + ".0000000000000007";
            for (int i = 1; i <= taken; ++i) {
                fill(i == 1 ? name : fmt::format("{}-{}", name, i), "");
            }
            file_sink sink = co_await opened(path);
            co_await sink.write(std::string_view("a line\n"));
            co_await sink.rotate(lsn{7});
            CHECK(contents_of(taken == 0 ? name : fmt::format("{}-{}", name, taken + 1)) ==
                  "a line\n");
            co_await sink.close();
        }
    }
}

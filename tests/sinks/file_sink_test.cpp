// file_sink: whole lines, one writer, no torn tail.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/numbered_lines.hpp"
#include "support/scripted_ring.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_sink.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <liburing.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace std::string_view_literals;
using sapwood::file_sink;
using sapwood::file_sink_options;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::fill;
using sapwood::test::perform;
using sapwood::test::perform_some;
using sapwood::test::scripted_ring;
using sapwood::test::temporary_directory;

task<file_sink> opened(const std::string& path) {
    const file_sink_options options{.path = path};
    co_return co_await file_sink::open(options);
}

task<> write_and_close(const std::string& path, std::string_view lines) {
    file_sink sink = co_await opened(path);
    co_await sink.write(lines);
    co_await sink.close();
}

/// Opens and closes; how many bytes of a torn line it moved.
task<std::uint64_t> torn_bytes_at_open(const std::string& path) {
    file_sink sink = co_await opened(path);
    const auto bytes = sink.torn_bytes();
    co_await sink.close();
    co_return bytes;
}

/// The error of an open that must fail.
task<std::system_error> open_error(const std::string& path) {
    try {
        (void)co_await opened(path);
    } catch (const std::system_error& error) {
        co_return error;
    }
    throw std::logic_error(path + " was opened");
}

task<> write(file_sink& sink, std::string_view lines) {
    co_await sink.write(lines);
}

/// The error of a write that must fail.
task<sapwood::write_error> write_failure(file_sink& sink, std::string_view lines) {
    try {
        co_await sink.write(lines);
    } catch (const sapwood::write_error& error) {
        co_return error;
    }
    throw std::logic_error("the write succeeded");
}

/// `count` lines of `bytes` bytes each, newline included.
std::string numbered_lines(int count, std::size_t bytes) {
    std::string text;
    for (int i = 0; i < count; ++i) {
        text += fmt::format("{:0{}}\n", i, bytes - 1);
    }
    return text;
}

/// A process that has the lock on a log.
class lock_holder {
  public:
    explicit lock_holder(const std::string& path) {
        std::array<int, 2> ready{};
        REQUIRE(::pipe2(ready.data(), O_CLOEXEC) == 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
            const bool locked = fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
            (void)!::write(ready[1], locked ? "y" : "n", 1);
            ::pause();
            ::_exit(0);
        }
        char answer = 0;
        REQUIRE(::read(ready[0], &answer, 1) == 1);
        REQUIRE(answer == 'y');
        ::close(ready[0]);
        ::close(ready[1]);
    }

    lock_holder(const lock_holder&) = delete;
    lock_holder& operator=(const lock_holder&) = delete;

    ~lock_holder() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = -1;
};

/// A file system of 64 KiB, where the test may mount one.
class small_disk {
  public:
    small_disk() {
        mounted_ = ::mount("none", path().c_str(), "tmpfs", 0, "size=64k") == 0;
        if (!mounted_) {
            MESSAGE("skipped: mounting a small file system needs root");
        }
    }

    small_disk(const small_disk&) = delete;
    small_disk& operator=(const small_disk&) = delete;

    ~small_disk() {
        if (mounted_) {
            ::umount2(path().c_str(), MNT_DETACH);
        }
    }

    [[nodiscard]] bool mounted() const { return mounted_; }

    [[nodiscard]] std::string path() const { return directory_ / ""; }

  private:
    temporary_directory directory_;
    bool mounted_ = false;
};

/// How many of `lines` a write that was cut short after `bytes` may leave.
std::string_view whole_lines(std::string_view lines, std::size_t bytes) {
    return lines.substr(0, lines.substr(0, bytes).rfind('\n') + 1);
}

} // namespace

TEST_SUITE("file_sink") {

    // --- open, lock, close ---

    CO_TEST_CASE("a new log is readable by its owner only") {
        const temporary_directory directory;
        const auto path = directory / "log";
        co_await write_and_close(path, "one\ntwo\n");
        CHECK(contents_of(path) == "one\ntwo\n");

        struct ::stat status {};

        REQUIRE(::stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 0777) == 0600);
    }

    CO_TEST_CASE("a log may get other permissions") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const mode_t umask_before = ::umask(0);
        const file_sink_options options{.path = path, .mode = 0640};
        { const file_sink sink = co_await file_sink::open(options); }
        ::umask(umask_before);

        struct ::stat status {};

        REQUIRE(::stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 0777) == 0640);
    }

    CO_TEST_CASE("lines are appended to what is there") {
        const temporary_directory directory;
        const auto path = directory / "log";
        co_await write_and_close(path, "one\n");
        co_await write_and_close(path, "two\n");
        CHECK(contents_of(path) == "one\ntwo\n");
    }

    CO_TEST_CASE("after somebody else has truncated the file, lines go to its end") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_sink sink = co_await opened(path);
        co_await write(sink, "before\n");
        REQUIRE(::truncate(path.c_str(), 0) == 0);
        co_await write(sink, "after\n");
        CHECK(contents_of(path) == "after\n");
    }

    CO_TEST_CASE("writing nothing does nothing") {
        const temporary_directory directory;
        file_sink sink = co_await opened(directory / "log");
        co_await write(sink, "");
        CHECK(contents_of(directory / "log").empty());
    }

    CO_TEST_CASE("a second writer in this process is refused and the first is named") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_sink first = co_await opened(path);
        const auto error = co_await open_error(path);
        CHECK(error.code() == std::errc::operation_would_block);
        const std::string what = error.what();
        CAPTURE(what);
        CHECK(what.find(path) != std::string::npos);
        CHECK(what.find(fmt::format("this process ({})", ::getpid())) != std::string::npos);
        co_await write(first, "undisturbed\n");
        CHECK(contents_of(path) == "undisturbed\n");
    }

    TEST_CASE("a second writer is refused and the process that writes is named") {
        const temporary_directory directory;
        const auto path = directory / "log";
        fill(path, "whole\ntorn");
        const lock_holder holder(path);
        const auto error = sapwood::test::run_virtual(open_error(path));
        const std::string what = error.what();
        CAPTURE(what);
        CHECK(what.find(fmt::format("process {} (", holder.pid())) != std::string::npos);
        CHECK(contents_of(path) == "whole\ntorn"); // its last line is perhaps being written
        CHECK(!std::filesystem::exists(path + ".torn"));
    }

    TEST_CASE("the lock goes with the process that held it") {
        const temporary_directory directory;
        const auto path = directory / "log";
        { const lock_holder killed(path); }
        CHECK(sapwood::test::run_virtual(torn_bytes_at_open(path)) == 0);
    }

    CO_TEST_CASE(
        "closing, or destroying, gives up the lock; closing also where a child was forked") {
        const temporary_directory directory;
        const auto path = directory / "log";
        file_sink closed = co_await opened(path);
        co_await closed.close();
        { const file_sink destroyed = co_await opened(path); }
        {
            const file_sink again = co_await opened(path);
            CHECK(again.path() == path);
        }
        file_sink shared = co_await opened(path);
        const pid_t child = ::fork(); // which has the file open as well
        if (child == 0) {
            ::pause();
            ::_exit(0);
        }
        co_await shared.close();
        CHECK((co_await opened(path)).path() == path);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    }

    CO_TEST_CASE("what is no regular file is refused, without waiting") {
        const temporary_directory directory;
        const auto fifo = directory / "fifo";
        REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
        for (const auto& path : {fifo, directory / "", std::string("/dev/null")}) {
            const auto error = co_await open_error(path);
            CHECK(std::string(error.what()).find("cannot open " + path) == 0);
        }
    }

    CO_TEST_CASE("a log whose directory is missing is refused") {
        const temporary_directory directory;
        const auto path = directory / "missing/log";
        const auto error = co_await open_error(path);
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        CHECK(std::string(error.what()).find(path) != std::string::npos);
    }

    CO_TEST_CASE("a log may be a symbolic link, and its writer is that of the file behind it") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto link = directory / "link";
        std::filesystem::create_symlink(path, link);
        file_sink sink = co_await opened(link);
        co_await write(sink, "x\n");
        CHECK(contents_of(path) == "x\n");
        CHECK((co_await open_error(path)).code() == std::errc::operation_would_block);
    }

    // --- a torn last line ---

    CO_TEST_CASE("a log that ends with a whole line is left alone") {
        const temporary_directory directory;
        const auto path = directory / "log";
        for (const auto text : {""sv, "\n"sv, "one\n"sv, "one\n\n"sv}) {
            fill(path, text);
            CHECK(co_await torn_bytes_at_open(path) == 0);
            CHECK(contents_of(path) == text);
            CHECK(!std::filesystem::exists(path + ".torn"));
        }
    }

    CO_TEST_CASE("a torn last line is moved aside and counted, however long it is") {
        const temporary_directory directory;
        const auto path = directory / "log";
        constexpr std::size_t step = 64u << 10;
        for (const std::size_t whole : {std::size_t{0}, std::size_t{1}, std::size_t{100}, step}) {
            for (const std::size_t torn : {std::size_t{1}, std::size_t{9}, step - 101, step - 100,
                                           step - 1, step, step + 1, 3 * step + 7}) {
                CAPTURE(whole);
                CAPTURE(torn);
                const std::string lines = whole == 0 ? "" : std::string(whole - 1, 'w') + "\n";
                const std::string tail(torn, 't');
                fill(path, lines + tail);
                REQUIRE(co_await torn_bytes_at_open(path) == torn);
                REQUIRE(contents_of(path) == lines);
                REQUIRE(contents_of(path + ".torn") == tail + "\n");
                std::filesystem::remove(path + ".torn");
            }
        }
    }

    CO_TEST_CASE("torn lines gather, each on a line of its own") {
        const temporary_directory directory;
        const auto path = directory / "log";
        fill(path, "one\ntw");
        CHECK(co_await torn_bytes_at_open(path) == 2);
        fill(path, "one\nthre");
        CHECK(co_await torn_bytes_at_open(path) == 4);
        CHECK(contents_of(path + ".torn") == "tw\nthre\n");
    }

    CO_TEST_CASE("what is written after a torn line was moved follows the last whole one") {
        const temporary_directory directory;
        const auto path = directory / "log";
        fill(path, "one\nto");
        co_await write_and_close(path, "two\n");
        CHECK(contents_of(path) == "one\ntwo\n");
    }

    CO_TEST_CASE("a torn line is not moved to where a link or a FIFO was planted") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto victim = directory / "victim";
        fill(path, "one\ntorn");
        fill(victim, "untouched");

        std::filesystem::create_symlink(victim, path + ".torn");
        CHECK(std::string((co_await open_error(path)).what()).find(path + ".torn") !=
              std::string::npos);
        std::filesystem::remove(path + ".torn");

        REQUIRE(::mkfifo((path + ".torn").c_str(), 0600) == 0);
        CHECK(std::string((co_await open_error(path)).what()).find(path + ".torn") !=
              std::string::npos);
        // With a reader it would open.
        const int reader = ::open((path + ".torn").c_str(), O_RDONLY | O_NONBLOCK);
        CHECK(std::string((co_await open_error(path)).what()).find(path + ".torn") !=
              std::string::npos);
        ::close(reader);
        std::filesystem::remove(path + ".torn");

        for (const auto& linked : {victim, path}) {
            std::filesystem::create_hard_link(linked, path + ".torn");
            CHECK(std::string((co_await open_error(path)).what()).find("hard link") !=
                  std::string::npos);
            std::filesystem::remove(path + ".torn");
        }

        CHECK(contents_of(victim) == "untouched");
        CHECK(contents_of(path) == "one\ntorn");
    }

    CO_TEST_CASE("a torn line that does not fit aside stays in the log alone, until it fits") {
        const small_disk disk;
        if (!disk.mounted()) {
            co_return;
        }
        const auto path = disk.path() + "log";
        const auto ballast = disk.path() + "ballast";
        const std::string torn(20u << 10, 't');
        fill(path, torn);
        fill(ballast, std::string(36u << 10, 'x'));
        for (int attempt = 0; attempt < 2; ++attempt) {
            CHECK((co_await open_error(path)).code() == std::errc::no_space_on_device);
            CHECK(contents_of(path) == torn);
            CHECK(contents_of(path + ".torn").empty());
        }
        std::filesystem::remove(ballast);
        CHECK(co_await torn_bytes_at_open(path) == torn.size());
        CHECK(contents_of(path).empty());
        CHECK(contents_of(path + ".torn") == torn + "\n");
    }

    // --- writes that do not go well ---

    TEST_CASE("a write cut short at any byte is continued there") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto lines = numbered_lines(10, 7);
        for (unsigned at = 1; at <= lines.size(); ++at) {
            CAPTURE(at);
            int writes = 0;
            sapwood::test::loop_with_writes disk([&](const io_uring_sqe& sqe) {
                return ++writes == 1 ? perform_some(sqe, at) : perform(sqe);
            });
            disk.run(write_and_close(path, lines));
            REQUIRE(contents_of(path) == lines);
            REQUIRE(writes == (at < lines.size() ? 2 : 1));
            std::filesystem::remove(path);
        }
    }

    TEST_CASE("a write that goes byte by byte, with interruptions, gets all of it there") {
        const temporary_directory directory;
        const auto path = directory / "log";
        int writes = 0;
        sapwood::test::loop_with_writes disk(
            [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                return ++writes % 3 == 0 ? -EINTR : perform_some(sqe, 1);
            });
        const auto lines = numbered_lines(20, 5);
        disk.run(write_and_close(path, lines));
        CHECK(contents_of(path) == lines);
    }

    TEST_CASE("wherever the disk becomes full, whole lines stay and the error says how many") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto lines = numbered_lines(6, 9);
        for (const int failure : {-ENOSPC, -EIO, -EDQUOT, -EFBIG, 0}) {
            for (unsigned at = 0; at < lines.size(); ++at) {
                CAPTURE(failure);
                CAPTURE(at);
                fill(path, "before\n");
                int writes = 0;
                sapwood::test::loop_with_writes disk(
                    [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                        return ++writes == 1 && at > 0 ? perform_some(sqe, at) : failure;
                    });
                const auto body = [](const std::string& log,
                                     std::string_view text) -> task<sapwood::write_error> {
                    file_sink sink = co_await opened(log);
                    co_return co_await write_failure(sink, text);
                };
                const auto error = disk.run(body(path, lines));
                const auto kept = whole_lines(lines, at);
                REQUIRE(error.bytes_kept == kept.size());
                REQUIRE(error.code().value() == (failure == 0 ? ENOSPC : -failure));
                REQUIRE(std::string(error.what()).find("cannot write " + path) == 0);
                REQUIRE(contents_of(path) == "before\n" + std::string(kept));
            }
        }
    }

    CO_TEST_CASE("a request to stop does not break off a write, and is delivered after it") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto lines = numbered_lines(60, 900);
        file_sink sink = co_await opened(path);
        int writes = 0;
        const auto write_for_ever = [](file_sink& to, std::string_view text, int& count) -> task<> {
            for (;;) {
                co_await write(to, text);
                ++count;
            }
        };
        auto writer = sapwood::spawn(write_for_ever(sink, lines, writes));
        while (writes < 3) {
            co_await sapwood::yield();
        }
        writer.cancel();
        bool was_stopped = false;
        try {
            co_await writer;
        } catch (const sapwood::cancelled&) {
            was_stopped = true;
        }
        CHECK(was_stopped);
        std::string expected;
        for (int i = 0; i < writes; ++i) {
            expected += lines;
        }
        CHECK(contents_of(path) == expected);
    }

    TEST_CASE("past the file size limit whole lines stay, and the process lives") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto lines = numbered_lines(100, 77);
        const auto body = [](const std::string& log, std::string_view text) -> task<std::string> {
            file_sink sink = co_await opened(log);
            const auto error = co_await write_failure(sink, text);
            co_return fmt::format("{} bytes kept, {}", error.bytes_kept, error.code().message());
        };
        CHECK(sapwood::test::in_child([&] {
                  const rlimit limit{.rlim_cur = 4096, .rlim_max = 4096};
                  ::setrlimit(RLIMIT_FSIZE, &limit);
                  return sapwood::run(body(path, lines));
              }) == "4081 bytes kept, File too large");
        CHECK(contents_of(path) == whole_lines(lines, 4096));

        // A write in user space, as on a ring without the kernel's, raises SIGXFSZ as well.
        std::filesystem::remove(path);
        CHECK(sapwood::test::in_child([&] {
                  const rlimit limit{.rlim_cur = 4096, .rlim_max = 4096};
                  ::setrlimit(RLIMIT_FSIZE, &limit);
                  return sapwood::test::loop_with_writes(perform).run(body(path, lines));
              }) == "4081 bytes kept, File too large");
    }

    CO_TEST_CASE("on a disk that is really full whole lines stay, and writing goes on with space") {
        const small_disk disk;
        if (!disk.mounted()) {
            co_return;
        }
        const auto path = disk.path() + "log";
        const auto ballast = disk.path() + "ballast";
        fill(ballast, std::string(32u << 10, 'x'));
        file_sink sink = co_await opened(path);
        const auto lines = numbered_lines(1000, 77);
        const auto error = co_await write_failure(sink, lines);
        CHECK(error.code() == std::errc::no_space_on_device);
        const auto kept = whole_lines(lines, error.bytes_kept);
        CHECK(kept.size() == error.bytes_kept);
        CHECK(!kept.empty());
        CHECK(contents_of(path) == kept);

        std::filesystem::remove(ballast);
        co_await write(sink, "after\n");
        CHECK(contents_of(path) == std::string(kept) + "after\n");
    }

    TEST_CASE("a sync that fails is reported") {
        const temporary_directory directory;
        sapwood::test::loop_with_writes disk(perform);
        int syncs = 0; // the first is the directory's
        disk.ring().answer = [&syncs](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            return sqe.opcode == IORING_OP_FSYNC && ++syncs > 1 ? -EIO : perform(sqe);
        };
        const auto body = [](const std::string& path) -> task<std::error_code> {
            file_sink sink = co_await opened(path);
            try {
                co_await sink.datasync();
            } catch (const std::system_error& error) {
                co_return error.code();
            }
            co_return std::error_code();
        };
        CHECK(disk.run(body(directory / "log")) == std::errc::io_error);
    }

    TEST_CASE("a sync that has failed does so each time, until its lines are written once more") {
        for (const bool is_numbered : {true, false}) { // so that they can be found
            CAPTURE(is_numbered);
            const temporary_directory directory;
            sapwood::test::loop_with_writes disk(perform);
            disk.run([](sapwood::test::loop_with_writes& on, std::string path,
                        bool has_numbers) -> task<> {
                const file_sink_options options{
                    .path = path, .numbered = has_numbers, .has_segments = true};
                file_sink sink = co_await file_sink::open(options);
                const std::string line = sapwood::test::numbered(1, "one");
                co_await sink.write(line);
                on.ring().answer = [](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                    return sqe.opcode == IORING_OP_FSYNC ? -EIO : perform(sqe);
                };
                CHECK_THROWS_AS(co_await sink.datasync(), sapwood::sync_error);
                on.ring().answer = perform;
                CHECK_THROWS_AS(co_await sink.datasync(), sapwood::sync_error);
                CHECK_THROWS_AS(co_await sink.write_synced(line), sapwood::sync_error);
                CHECK(contents_of(path) == line);
                if (has_numbers) {
                    (void)co_await sink.recover_again(sapwood::lsn{1});
                    co_await sink.datasync();
                } else {
                    CHECK_THROWS_AS((void)co_await sink.recover_again(sapwood::lsn{1}),
                                    sapwood::sync_error);
                }
                co_await sink.begin_segment(line, {}, sapwood::lsn{1});
                co_await sink.write_synced(sapwood::test::numbered(2, "two"));
                co_await sink.datasync();
                co_await sink.close();
            }(disk, directory / "log", is_numbered));
        }
    }
}

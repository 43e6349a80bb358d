// Files, pipes and FIFOs on the kernel's ring.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/file.hpp>
#include <sapwood/result.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/magic.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::file;
using sapwood::file_offset;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::last_words;
using sapwood::test::temporary_directory;

struct pipe_ends {
    pipe_ends() {
        std::array<int, 2> fds{};
        REQUIRE(::pipe2(fds.data(), O_CLOEXEC) == 0);
        read = file(fds[0]);
        write = file(fds[1]);
    }

    file read;
    file write;
};

task<std::string> read_to_end(file& from) {
    std::string text;
    std::array<char, 7> bytes{};
    for (;;) {
        const auto got = co_await from.read_some(bytes);
        if (got == 0) {
            co_return text;
        }
        text.append(bytes.data(), got);
    }
}

task<std::size_t> read_once(file& from) {
    std::array<char, 16> bytes{};
    co_return co_await from.read_some(bytes);
}

/// How awaiting what `start` returns fails.
template <class F>
task<std::pair<std::error_code, std::string>> failure_of(F start) {
    try {
        (void)co_await start();
    } catch (const std::system_error& failure) {
        co_return std::pair(failure.code(), std::string(failure.what()));
    }
    co_return std::pair(std::error_code(), std::string("it did not fail"));
}

task<file> open_for_reading(std::string path) {
    co_return co_await file::open(std::move(path));
}

int open_descriptors() {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd) {
        count += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
    }
    return count;
}

/// How many of a file's first `pages` are in the page cache.
std::size_t cached_pages(int fd, std::size_t pages) {
    const std::size_t size = pages * 4096;
    void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(at != MAP_FAILED);
    std::vector<unsigned char> is_cached(pages);
    const int done = ::mincore(at, size, is_cached.data());
    REQUIRE(::munmap(at, size) == 0);
    REQUIRE(done == 0);
    return static_cast<std::size_t>(
        std::ranges::count_if(is_cached, [](unsigned char each) { return (each & 1) != 0; }));
}

/// Lets the kernel take what is staged.
task<> settle() {
    for (int i = 0; i < 4; ++i) {
        co_await sapwood::yield();
    }
}

} // namespace

TEST_SUITE("file") {

    CO_TEST_CASE("what was written can be read back, at the descriptor's place and at offsets") {
        const temporary_directory directory;
        auto out = co_await file::open(directory / "file", {.flags = O_RDWR | O_CREAT | O_EXCL});
        co_await out.write_all("hello, world"sv);
        CHECK(co_await out.write_some("J"sv, file_offset{0}) == 1);
        std::array<char, 5> bytes{};
        CHECK(co_await out.read_some(bytes, file_offset{7}) == 5);
        CHECK(std::string_view(bytes.data(), 5) == "world");
        CHECK(co_await out.read_some(bytes, file_offset{12}) == 0);
        co_await out.close();
        CHECK_FALSE(out.is_open());
        CHECK(contents_of(directory / "file") == "Jello, world");
    }

    CO_TEST_CASE("a file that appends writes at the end, also after somebody truncated it") {
        const temporary_directory directory;
        sapwood::test::fill(directory / "log", "old\n");
        auto log = co_await file::open(directory / "log", {.flags = O_WRONLY | O_APPEND});
        co_await log.write_all("one\n"sv);
        CHECK(contents_of(directory / "log") == "old\none\n");
        CHECK(::truncate((directory / "log").c_str(), 0) == 0);
        co_await log.write_all("two\n"sv);
        CHECK(contents_of(directory / "log") == "two\n");
    }

    CO_TEST_CASE("a large write goes in whole") {
        const temporary_directory directory;
        std::string text(3 << 20, ' ');
        for (std::size_t i = 0; i < text.size(); ++i) {
            text[i] = static_cast<char>('a' + i % 23);
        }
        auto out = co_await file::open(directory / "large", {.flags = O_WRONLY | O_CREAT});
        co_await out.write_all(text);
        co_await out.datasync();
        co_await out.close();
        CHECK((contents_of(directory / "large") == text));
    }

    CO_TEST_CASE("a created file is its owner's alone and does not outlive an exec") {
        const temporary_directory directory;
        auto out = co_await file::open(directory / "file", {.flags = O_WRONLY | O_CREAT});
        const auto status = co_await out.stat();
        CHECK((status.mode & 0777) == 0600);
        CHECK((::fcntl(out.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    }

    CO_TEST_CASE("allocate reserves blocks and makes the file as long, sync keeps all of it") {
        const temporary_directory directory;
        auto out = co_await file::open(directory / "oak", {.flags = O_RDWR | O_CREAT});
        co_await out.allocate(0, 8192);
        co_await out.sync();

        struct stat status {};

        REQUIRE(::stat((directory / "oak").c_str(), &status) == 0);
        CHECK(status.st_size == 8192);
        CHECK(status.st_blocks * 512 >= 8192);
        co_await out.close();
    }

    CO_TEST_CASE("a write-back is begun for a part of a file, and for no pipe") {
        const temporary_directory directory;
        auto out = co_await file::open(directory / "elm", {.flags = O_RDWR | O_CREAT});
        co_await out.write_all(std::string(10'000, 'x'));
        co_await out.begin_writeback(0, 4096);
        co_await out.begin_writeback(4096, 100'000); // more than it has
        co_await out.datasync();
        CHECK(contents_of(directory / "elm").size() == 10'000);
        pipe_ends ends;
        const auto [code, message] =
            co_await failure_of([&] { return ends.write.begin_writeback(0, 1); });
        CHECK(code.value() == ESPIPE);
        CHECK(message.starts_with("write-back of 1 bytes of file descriptor "));
    }

    CO_TEST_CASE("what is on disk and dropped is cached no more, and is read all the same") {
        const temporary_directory directory;
        auto file_of = co_await file::open(directory / "fir", {.flags = O_RDWR | O_CREAT});
        co_await file_of.write_all(std::string(8 * 4096, 'x'));
        co_await file_of.datasync();

        struct statfs of_what {};

        REQUIRE(::fstatfs(file_of.fd(), &of_what) == 0);
        const bool has_disk = of_what.f_type != TMPFS_MAGIC && of_what.f_type != RAMFS_MAGIC;
        CHECK(cached_pages(file_of.fd(), 8) == 8);
        co_await file_of.drop_cached(0, 8 * 4096); // all of it: a folio may be as large
        CHECK(cached_pages(file_of.fd(), 8) == (has_disk ? 0 : 8));
        std::array<char, 4096> found{};
        CHECK(co_await file_of.read_some(found, {4096}) == found.size());
        CHECK(found[17] == 'x');
        pipe_ends ends;
        const auto [code, message] =
            co_await failure_of([&] { return ends.write.drop_cached(0, 1); });
        CHECK(code.value() == ESPIPE);
        CHECK(message.starts_with("advice to drop 1 cached bytes of file descriptor "));
    }

    CO_TEST_CASE("truncate cuts and extends, stat tells size, kind and identity") {
        const temporary_directory directory;
        auto out = co_await file::open(directory / "file", {.flags = O_RDWR | O_CREAT});
        co_await out.write_all("0123456789"sv);
        co_await out.truncate(4);
        CHECK(contents_of(directory / "file") == "0123");
        co_await out.truncate(6);
        const auto status = co_await out.stat();

        struct ::stat expected {};

        REQUIRE(::stat((directory / "file").c_str(), &expected) == 0);
        CHECK(status.size == 6);
        CHECK(status.is_regular());
        CHECK(status.inode == expected.st_ino);
        CHECK(status.links == 1);
        using namespace std::chrono;
        CHECK(duration_cast<seconds>(status.modified.time_since_epoch()).count() ==
              expected.st_mtim.tv_sec);
        auto null = co_await file::open("/dev/null");
        CHECK_FALSE((co_await null.stat()).is_regular());
    }

    CO_TEST_CASE("rename replaces what has the new name") {
        const temporary_directory directory;
        sapwood::test::fill(directory / "from", "new");
        sapwood::test::fill(directory / "to", "old");
        co_await sapwood::rename_file(directory / "from", directory / "to");
        CHECK(contents_of(directory / "to") == "new");
        CHECK_FALSE(std::filesystem::exists(directory / "from"));
    }

    // --- failures ---

    CO_TEST_CASE("an open that fails names the path, the purpose and the reason") {
        const temporary_directory directory;
        const auto path = directory / "missing";
        auto [code, text] = co_await failure_of([&] { return file::open(path); });
        CHECK(code == std::errc::no_such_file_or_directory);
        CHECK(text == "cannot open " + path + " for reading: No such file or directory");
        sapwood::test::fill(directory / "there", "");
        std::tie(code, text) = co_await failure_of([&] {
            return file::open(directory / "there", {.flags = O_WRONLY | O_CREAT | O_EXCL});
        });
        CHECK(code == std::errc::file_exists);
        CHECK(text.find("for writing: File exists") != std::string::npos);
        std::tie(code, text) =
            co_await failure_of([] { return file::open("/", {.flags = O_RDWR}); });
        CHECK(text.find("cannot open / for reading and writing: Is a directory") == 0);
    }

    CO_TEST_CASE("a rename that fails names both paths") {
        const temporary_directory directory;
        const auto [code, text] = co_await failure_of(
            [&] { return sapwood::rename_file(directory / "missing", directory / "other"); });
        CHECK(code == std::errc::no_such_file_or_directory);
        CHECK(text.find("cannot rename " + (directory / "missing") + " to " +
                        (directory / "other")) == 0);
    }

    CO_TEST_CASE("operations the descriptor does not allow fail with the kernel's reason") {
        const temporary_directory directory;
        sapwood::test::fill(directory / "file", "text");
        auto in = co_await file::open(directory / "file");
        const auto [code, text] = co_await failure_of([&] { return in.write_some("more"sv); });
        CHECK(code == std::errc::bad_file_descriptor);
        CHECK(text.find("write of 4 bytes to file descriptor") == 0);
        CHECK((co_await failure_of([&] { return in.truncate(0); })).first ==
              std::errc::invalid_argument);
        pipe_ends pipe;
        CHECK((co_await failure_of([&] { return pipe.write.datasync(); })).first ==
              std::errc::invalid_argument);
        auto directory_file = co_await file::open("/tmp");
        CHECK((co_await failure_of([&] { return read_once(directory_file); })).first ==
              std::errc::is_a_directory);
    }

    CO_TEST_CASE("a write to a pipe without readers is EPIPE and not the end of the process") {
        pipe_ends pipe;
        co_await pipe.read.close();
        const auto [code, text] =
            co_await failure_of([&] { return pipe.write.write_some("text"sv); });
        CHECK(code == std::errc::broken_pipe);
        CHECK(text.find("write of 4 bytes") == 0);
    }

    TEST_CASE("a file size limit shows as a short write and then as EFBIG") {
        const auto outcome = sapwood::test::in_child([] {
            const temporary_directory directory;
            auto write = [&]() -> task<std::string> {
                auto out = co_await file::open(directory / "file",
                                               {.flags = O_WRONLY | O_APPEND | O_CREAT});
                const std::string text(3000, 'x');
                const auto first = co_await out.write_some(text);
                const auto [code, message] =
                    co_await failure_of([&] { return out.write_all(text); });
                co_return std::to_string(first) + " then " + std::to_string(code.value());
            };
            std::signal(SIGXFSZ, SIG_IGN);
            const rlimit limit{1000, 1000};
            ::setrlimit(RLIMIT_FSIZE, &limit);
            return sapwood::run(write());
        });
        CHECK(outcome == "1000 then 27");
    }

    // --- pipes, FIFOs, cancelling ---

    CO_TEST_CASE("a read waits for the first byte and gives what is there") {
        pipe_ends pipe;
        auto reader = sapwood::spawn(read_once(pipe.read));
        co_await settle();
        CHECK_FALSE(reader.done());
        co_await pipe.write.write_all("abc"sv);
        CHECK(co_await reader == 3);
    }

    CO_TEST_CASE("a FIFO is read until its last writer closes") {
        const temporary_directory directory;
        REQUIRE(::mkfifo((directory / "fifo").c_str(), 0600) == 0);
        auto write = [&]() -> task<> {
            auto out = co_await file::open(directory / "fifo", {.flags = O_WRONLY});
            for (int i = 0; i < 100; ++i) {
                co_await out.write_all("0123456789"sv);
                co_await sapwood::yield();
            }
            co_await out.close();
        };
        auto writer = sapwood::spawn(write());
        auto in = co_await file::open(directory / "fifo");
        const auto text = co_await read_to_end(in);
        co_await writer;
        CHECK(text.size() == 1000);
        CHECK(text.substr(990) == "0123456789");
    }

    CO_TEST_CASE("cancelling a read of an empty pipe throws") {
        pipe_ends pipe;
        auto reader = sapwood::spawn(read_once(pipe.read));
        co_await settle();
        reader.cancel();
        CHECK_THROWS_AS((void)co_await reader, sapwood::cancelled);
    }

    CO_TEST_CASE("bytes are not lost when a read is cancelled while they come") {
        int returned = 0;
        for (int i = 0; i < 200; ++i) {
            pipe_ends pipe;
            auto reader = sapwood::spawn(read_once(pipe.read));
            co_await settle();
            const bool cancel_first = i % 2 == 0;
            if (cancel_first) {
                reader.cancel();
            }
            REQUIRE(::write(pipe.write.fd(), "abc", 3) == 3);
            if (!cancel_first) {
                reader.cancel();
            }
            std::optional<std::size_t> got;
            try {
                got = co_await reader;
                ++returned;
            } catch (const sapwood::cancelled&) {
            }
            // Either the reader has them or they are still in the pipe.
            REQUIRE((got ? *got : co_await read_once(pipe.read)) == 3);
        }
        CHECK(returned <= 200);
    }

    CO_TEST_CASE("cancelling a write to a full pipe throws") {
        pipe_ends pipe;
        const std::string text(1 << 20, 'x');
        auto write = [&]() -> task<> { co_await pipe.write.write_all(text); };
        auto writer = sapwood::spawn(write());
        co_await settle();
        CHECK_FALSE(writer.done());
        writer.cancel();
        CHECK_THROWS_AS(co_await writer, sapwood::cancelled);
    }

    CO_TEST_CASE("cancelling an open of a FIFO without a writer throws") {
        const temporary_directory directory;
        REQUIRE(::mkfifo((directory / "fifo").c_str(), 0600) == 0);
        for (int i = 0; i < 20; ++i) {
            auto opener = sapwood::spawn(open_for_reading(directory / "fifo"));
            for (int turn = 0; turn < i; ++turn) {
                co_await sapwood::yield();
            }
            opener.cancel();
            CHECK_THROWS_AS((void)co_await opener, sapwood::cancelled);
        }
    }

    CO_TEST_CASE("cancelled opens leave no descriptor open, whoever wins the race") {
        const temporary_directory directory;
        sapwood::test::fill(directory / "file", "text");
        co_await sapwood::sleep_for(1s); // the loop has what descriptors it needs
        const int before = open_descriptors();
        int opened = 0;
        for (int i = 0; i < 100; ++i) {
            auto opener = sapwood::spawn(open_for_reading(directory / "file"));
            for (int turn = 0; turn < i % 5; ++turn) {
                co_await sapwood::yield();
            }
            opener.cancel();
            try {
                const file got = co_await opener;
                opened += got.is_open() ? 1 : 0;
            } catch (const sapwood::cancelled&) {
            }
        }
        CHECK(open_descriptors() == before);
        CHECK(opened <= 100);
    }

    // --- closing ---

    CO_TEST_CASE("close waits for the operations in flight on the descriptor") {
        pipe_ends pipe;
        auto reader = sapwood::spawn(read_once(pipe.read));
        co_await settle();
        auto close = [&]() -> task<> { co_await pipe.read.close(); };
        auto closer = sapwood::spawn(close());
        co_await settle();
        CHECK_FALSE(closer.done());
        CHECK(pipe.read.is_open());
        co_await pipe.write.write_all("abc"sv);
        CHECK(co_await reader == 3);
        co_await closer;
        CHECK_FALSE(pipe.read.is_open());
    }

    CO_TEST_CASE("cancelling the last operation lets a close go on") {
        pipe_ends pipe;
        auto reader = sapwood::spawn(read_once(pipe.read));
        co_await settle();
        auto close = [&]() -> task<> { co_await pipe.read.close(); };
        auto closer = sapwood::spawn(close());
        co_await settle();
        reader.cancel();
        CHECK_THROWS_AS((void)co_await reader, sapwood::cancelled);
        co_await closer;
        CHECK_FALSE(pipe.read.is_open());
    }

    TEST_CASE("a close that has failed with the word for what was not begun is not made twice") {
        auto made = std::make_unique<sapwood::test::scripted_ring>();
        auto& ring = *made;
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        ring.answer = [](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode != IORING_OP_CLOSE) {
                return std::nullopt;
            }
            ::close(sqe.fd); // as FUSE does, whose daemon may say whatever it likes of it
            return -ECANCELED;
        };
        sapwood::event_loop loop(std::move(made));
        std::error_code failure;
        int closes = 0;
        loop.run([](int fd, std::error_code& why, int& count) -> task<> {
            file one(fd);
            why = (co_await as_result(one.close())).error();
            count += one.is_open() ? 0 : 1;
        }(ends[0], failure, closes));
        CHECK(failure == std::errc::operation_canceled);
        CHECK(closes == 1);
        // Where it was not begun, it is made, and what comes of that counts.
        ring.answer = [](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            return sqe.opcode == IORING_OP_CLOSE ? std::optional(-ECANCELED) : std::nullopt;
        };
        loop.run([](int fd, std::error_code& why, int& count) -> task<> {
            file one(fd);
            why = (co_await as_result(one.close())).error();
            count += one.is_open() ? 0 : 1;
        }(ends[1], failure, closes));
        CHECK(!failure);
        CHECK(closes == 2);
        CHECK(::fcntl(ends[1], F_GETFD) == -1);
    }

    TEST_CASE("a file closes its descriptor when it goes, and gives it up when it is released") {
        const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        { const file owner(fd); }
        CHECK(::fcntl(fd, F_GETFD) == -1);
        const int other = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        {
            file owner(other);
            file next(std::move(owner));
            file last;
            last = std::move(next);
            CHECK(last.fd() == other);
            CHECK(last.release() == other);
            CHECK_FALSE(last.is_open());
        }
        CHECK(::fcntl(other, F_GETFD) != -1);
        ::close(other);
    }

    TEST_CASE("opens that wait for the other ends of FIFOs do not hold up other files") {
        const temporary_directory directory;
        REQUIRE(::mkfifo((directory / "fifo").c_str(), 0600) == 0);
        auto wait_and_write = [&]() -> task<> {
            auto log = co_await file::open(directory / "log", {.flags = O_RDWR | O_CREAT});
            std::vector<sapwood::join_handle<file>> waiting;
            for (int i = 0; i < 50; ++i) {
                waiting.push_back(sapwood::spawn([path = directory / "fifo"]() -> task<file> {
                    co_return co_await file::open(path, {.flags = O_RDONLY});
                }));
            }
            co_await settle();
            co_await log.write_all("written"sv);
            co_await log.datasync();
            CHECK(contents_of(directory / "log") == "written");
            for (auto& open : waiting) {
                CHECK_FALSE(open.done());
                open.cancel();
            }
            for (auto& open : waiting) {
                CHECK_THROWS_AS((void)co_await open, sapwood::cancelled);
            }
        };
        sapwood::run(wait_and_write(), {.sq_entries = 1});
    }

    CO_TEST_CASE("size_now tells at once how long a file is, whoever has made it so") {
        const temporary_directory directory;
        sapwood::test::fill(directory / "file", "12345");
        file opened = co_await file::open(directory / "file", {.flags = O_RDONLY});
        CHECK(*opened.size_now() == 5);
        sapwood::test::fill(directory / "file", "12");
        CHECK(*opened.size_now() == 2);
        co_await opened.close();
        CHECK(opened.size_now().error() == std::errc::bad_file_descriptor);
    }

    TEST_CASE("an operation on a file that is not open hits the assertion") {
        auto misuse = []() -> task<> {
            file none;
            (void)co_await read_once(none);
        };
        CHECK(last_words([&] { sapwood::run(misuse()); }) ==
              doctest::Contains("on a file or socket that is not open"));
    }

    TEST_CASE("destroying or moving a file while an operation is in flight hits the assertion") {
        auto misuse = [](bool move) -> task<> {
            pipe_ends pipe;
            auto target = std::make_optional(std::move(pipe.read));
            auto reader = sapwood::spawn(read_once(*target));
            co_await settle();
            if (move) {
                const file other(std::move(*target));
            }
            target.reset();
        };
        CHECK(last_words([&] { sapwood::run(misuse(false)); }) ==
              doctest::Contains("a file or socket was destroyed while operations are in flight"));
        CHECK(last_words([&] { sapwood::run(misuse(true)); }) ==
              doctest::Contains(
                  "a file or socket was moved or released while operations are in flight"));
    }
}

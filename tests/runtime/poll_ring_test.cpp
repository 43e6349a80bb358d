// poll_ring: the same SQEs give the same completions as on the kernel's ring. Most cases run on
// both rings, so what they claim is also checked against the kernel.
#include "poll_ring.hpp"

#include "make_ring.hpp"
#include "sqe_calls.hpp"

#include "support/allocations.hpp"
#include "support/ring_driver.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::clock;
using sapwood::test::contents_of;
using sapwood::test::descriptor;
using sapwood::test::driver;
using sapwood::test::is_broken_off;
using sapwood::test::on_both_rings;
using sapwood::test::on_poll_ring;
using sapwood::test::patience;
using sapwood::test::pipe_ends;
using sapwood::test::temporary_directory;
using sapwood::test::text;

/// The threads of this process that sleep in the open of a FIFO.
unsigned threads_in_fifo_open() {
    unsigned count = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::array<char, 64> place{};
        const int fd = ::open((task.path() / "wchan").c_str(), O_RDONLY | O_CLOEXEC);
        if (fd >= 0) { // else the thread has just ended
            (void)!::read(fd, place.data(), place.size() - 1);
            ::close(fd);
        }
        count += std::strcmp(place.data(), "wait_for_partner") == 0 ? 1 : 0;
    }
    return count;
}

/// Until a worker has got there; where the kernel does not tell, a while.
void wait_for_fifo_open(driver& on) {
    const auto give_up = clock::now() + 1s;
    while (threads_in_fifo_open() == 0 && clock::now() < give_up) {
        on.turn(sapwood::ring::dont_wait);
    }
}

sapwood::task<> read_first(const std::string& path, std::string& into) {
    auto fifo = co_await sapwood::file::open(path);
    std::array<char, 64> bytes{};
    const std::size_t size = co_await fifo.read_some(bytes);
    into.assign(bytes.data(), size);
    co_await fifo.close();
}

sapwood::task<> open_and_be_cancelled(const std::string& path, bool& was_cancelled) {
    auto opening = sapwood::spawn([](const std::string& name) -> sapwood::task<> {
        (void)co_await sapwood::file::open(name);
    }(path));
    const auto give_up = clock::now() + 1s;
    while (threads_in_fifo_open() == 0 && clock::now() < give_up) {
        co_await sapwood::yield();
    }
    opening.cancel();
    try {
        co_await std::move(opening);
    } catch (const sapwood::cancelled&) {
        was_cancelled = true;
    }
}

constexpr std::array both_kinds{sapwood::ring_kind::io_uring, sapwood::ring_kind::poll};

/// Whether this machine can make such a ring.
bool has(sapwood::ring_kind kind) {
    try {
        const sapwood::event_loop loop({.ring = kind});
        return true;
    } catch (const std::system_error& refused) {
        MESSAGE("skipped: " << refused.what());
        return false;
    }
}

} // namespace

TEST_SUITE("poll_ring") {

    TEST_CASE("a nop completes with 0") {
        on_both_rings([](driver& on) {
            on.stage_nop(1);
            CHECK(on.result_of(1) == 0);
        });
    }

    TEST_CASE("an unknown opcode fails with ENOSYS") {
        on_poll_ring([](driver& on) {
            for (unsigned opcode = 0; opcode < 256; ++opcode) {
                if (!sapwood::poll_ring::knows(static_cast<std::uint8_t>(opcode))) {
                    on.stage(opcode, [&](io_uring_sqe* sqe) {
                        ::io_uring_prep_nop(sqe);
                        sqe->opcode = static_cast<__u8>(opcode);
                    });
                    CHECK(on.result_of(opcode) == -ENOSYS);
                }
            }
        });
    }

    TEST_CASE("every opcode that the runtime uses is known to every ring") {
        struct ::statx status {};

        char byte = 0;
        sockaddr_in address{};
        address.sin_family = AF_INET;
        auto* const name = reinterpret_cast<sockaddr*>(&address);
        msghdr message{};
        const std::array<std::function<void(io_uring_sqe*)>, 16> uses{
            [](io_uring_sqe* sqe) { ::io_uring_prep_openat(sqe, -1, "x", O_RDONLY, 0); },
            [](io_uring_sqe* sqe) { ::io_uring_prep_close(sqe, -1); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_read(sqe, -1, &byte, 1, 0); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_write(sqe, -1, &byte, 1, 0); },
            [](io_uring_sqe* sqe) { ::io_uring_prep_fsync(sqe, -1, 0); },
            [&](io_uring_sqe* sqe) {
                ::io_uring_prep_statx(sqe, -1, "", AT_EMPTY_PATH, STATX_SIZE, &status);
            },
            [](io_uring_sqe* sqe) { ::io_uring_prep_renameat(sqe, -1, "x", -1, "y", 0); },
            [](io_uring_sqe* sqe) {
                ::io_uring_prep_rw(sapwood::detail::opcode_ftruncate, sqe, -1, nullptr, 0, 0);
            },
            [](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, -1, POLLIN); },
            [](io_uring_sqe* sqe) { ::io_uring_prep_accept(sqe, -1, nullptr, nullptr, 0); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_connect(sqe, -1, name, sizeof(address)); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_recv(sqe, -1, &byte, 1, 0); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_send(sqe, -1, &byte, 1, 0); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_recvmsg(sqe, -1, &message, 0); },
            [&](io_uring_sqe* sqe) { ::io_uring_prep_sendmsg(sqe, -1, &message, 0); },
            [](io_uring_sqe* sqe) { ::io_uring_prep_shutdown(sqe, -1, SHUT_WR); },
        };
        for (const auto kind : {sapwood::ring_kind::automatic, sapwood::ring_kind::poll}) {
            const auto ring = sapwood::make_ring({.ring = kind});
            driver on(*ring);
            for (std::size_t i = 0; i < uses.size(); ++i) {
                on.stage(i, uses[i]);
                CAPTURE(i);
                CHECK(on.result_of(i) == -EBADF);
            }
        }
    }

    TEST_CASE("a descriptor that is not open fails with EBADF") {
        on_both_rings([](driver& on) {
            std::array<char, 64> bytes{};
            on.stage_read(1, 9999, bytes);
            on.stage_write(2, 9999, bytes);
            on.stage(3, [](io_uring_sqe* sqe) { ::io_uring_prep_close(sqe, 9999); });
            on.stage(4, [](io_uring_sqe* sqe) { ::io_uring_prep_fsync(sqe, 9999, 0); });
            on.stage(5, [](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, 9999, POLLIN); });
            for (std::uint64_t operation = 1; operation <= 5; ++operation) {
                CHECK(on.result_of(operation) == -EBADF);
            }
        });
    }

    TEST_CASE("a file is opened, written, synced, cut, asked, renamed and closed") {
        on_both_rings([](driver& on) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            const std::string moved = folder / "log.1";
            on.stage(1, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC,
                                       0600);
            });
            const int fd = on.result_of(1);
            REQUIRE(fd >= 0);
            on.stage_write(2, fd, std::string_view("heartwood"), 0);
            CHECK(on.result_of(2) == 9);
            on.stage(3, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
            });
            CHECK(on.result_of(3) == 0);
            on.stage(4, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_rw(sapwood::detail::opcode_ftruncate, sqe, fd, nullptr, 0, 5);
            });
            CHECK(on.result_of(4) == 0);
            struct ::statx status {};

            on.stage(5, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_statx(sqe, fd, "", AT_EMPTY_PATH, STATX_SIZE, &status);
            });
            CHECK(on.result_of(5) == 0);
            CHECK(status.stx_size == 5);
            on.stage(6, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_renameat(sqe, AT_FDCWD, path.c_str(), AT_FDCWD, moved.c_str(), 0);
            });
            CHECK(on.result_of(6) == 0);
            std::array<char, 64> bytes{};
            on.stage_read(7, fd, bytes, 1);
            const std::int32_t size = on.result_of(7);
            CHECK(text(bytes, size) == "eart");
            on.stage(8, [&](io_uring_sqe* sqe) { ::io_uring_prep_close(sqe, fd); });
            CHECK(on.result_of(8) == 0);
            CHECK(::fcntl(fd, F_GETFD) == -1);
            CHECK(contents_of(moved) == "heart");
            on.stage(9, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), O_RDONLY, 0);
            });
            CHECK(on.result_of(9) == -ENOENT);
        });
    }

    TEST_CASE("appends to one file land in the order in which they were submitted") {
        on_poll_ring([](driver& on) {
            const temporary_directory folder;
            const std::string path = folder / "log";
            const descriptor log(
                ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
            // The same file by another descriptor stands in the same line.
            const descriptor again(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
            std::vector<std::string> lines;
            std::string all;
            for (int i = 0; i < 500; ++i) {
                lines.push_back(std::to_string(i) + "\n");
                all += lines.back();
            }
            for (std::size_t i = 0; i < lines.size(); ++i) {
                on.stage_write(i + 1, i % 2 == 0 ? log : again, lines[i]);
            }
            for (std::size_t i = 0; i < lines.size(); ++i) {
                CHECK(on.result_of(i + 1) == static_cast<std::int32_t>(lines[i].size()));
            }
            CHECK(contents_of(path) == all);
        });
    }

    TEST_CASE("poll tells what a descriptor is ready for, and a file is always ready") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            on.stage(1,
                     [&](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, pipe.read, POLLIN); });
            CHECK(on.is_pending(1));
            REQUIRE(::write(pipe.write, "x", 1) == 1);
            CHECK(on.result_of(1) == POLLIN);
            pipe.write.close();
            on.stage(2,
                     [&](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, pipe.read, POLLIN); });
            CHECK(on.result_of(2) == (POLLIN | POLLHUP));

            const temporary_directory folder;
            const descriptor file(
                ::open((folder / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
            on.stage(3, [&](io_uring_sqe* sqe) { ::io_uring_prep_poll_add(sqe, file, POLLIN); });
            CHECK(on.result_of(3) == POLLIN);
        });
    }

    TEST_CASE("a timeout ends when its time has come, or as many completions") {
        on_both_rings([](driver& on) {
            __kernel_timespec soon{.tv_sec = 0, .tv_nsec = 1'000'000};
            on.stage(1, [&](io_uring_sqe* sqe) { ::io_uring_prep_timeout(sqe, &soon, 0, 0); });
            CHECK(on.result_of(1) == -ETIME);
            __kernel_timespec late{.tv_sec = 3600, .tv_nsec = 0};
            on.stage(2, [&](io_uring_sqe* sqe) { ::io_uring_prep_timeout(sqe, &late, 2, 0); });
            on.stage_nop(3);
            CHECK(on.is_pending(2));
            on.stage_nop(4);
            CHECK(on.result_of(2) == 0);
        });
    }

    TEST_CASE("an enter ends at its deadline although nothing happened") {
        on_both_rings([](driver& on) {
            const auto until = clock::now() + 2ms;
            while (clock::now() < until) { // a signal may end one early
                on.turn(until);
            }
            CHECK(clock::now() < until + patience);
        });
    }

    // --- cancelling ---

    TEST_CASE("a cancelled read ends with ECANCELED and reads nothing") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            std::array<char, 64> bytes{};
            on.stage_read(1, pipe.read, bytes);
            CHECK(on.is_pending(1));
            on.stage_cancel(2, 1);
            CHECK(on.result_of(2) == 0);
            CHECK(on.result_of(1) == -ECANCELED);
            REQUIRE(::write(pipe.write, "x", 1) == 1);
            on.stage_read(3, pipe.read, bytes);
            CHECK(on.result_of(3) == 1);
        });
    }

    TEST_CASE("a cancel that finds nothing ends with ENOENT") {
        on_both_rings([](driver& on) {
            on.stage_cancel(1, 77);
            CHECK(on.result_of(1) == -ENOENT);
            on.stage(2, [](io_uring_sqe* sqe) { ::io_uring_prep_cancel_fd(sqe, 9999, 0); });
            CHECK(on.result_of(2) == -EBADF);
        });
    }

    TEST_CASE("a cancel by descriptor takes the oldest operation on it, or all and counts them") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            pipe_ends other;
            std::array<char, 64> bytes{};
            on.stage_read(1, pipe.read, bytes);
            on.stage_read(2, pipe.read, bytes);
            on.stage_read(3, other.read, bytes);
            CHECK(on.is_pending(1));
            on.stage(4, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_cancel_fd(sqe, pipe.read, IORING_ASYNC_CANCEL_ALL);
            });
            CHECK(on.result_of(4) == 2);
            CHECK(on.result_of(1) == -ECANCELED);
            CHECK(on.result_of(2) == -ECANCELED);
            CHECK(on.is_pending(3));
            on.stage(5, [&](io_uring_sqe* sqe) { ::io_uring_prep_cancel_fd(sqe, other.read, 0); });
            CHECK(on.result_of(5) == 0);
            CHECK(on.result_of(3) == -ECANCELED);
            on.stage(6, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_cancel_fd(sqe, pipe.read, IORING_ASYNC_CANCEL_ALL);
            });
            CHECK(on.result_of(6) == 0);
        });
    }

    TEST_CASE("a cancelled timeout ends with ECANCELED") {
        on_both_rings([](driver& on) {
            __kernel_timespec late{.tv_sec = 3600, .tv_nsec = 0};
            on.stage(1, [&](io_uring_sqe* sqe) { ::io_uring_prep_timeout(sqe, &late, 0, 0); });
            CHECK(on.is_pending(1));
            on.stage_cancel(2, 1);
            CHECK(on.result_of(2) == 0);
            CHECK(on.result_of(1) == -ECANCELED);
        });
    }

    TEST_CASE("a cancel that comes with or after the bytes loses none of them") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            for (std::uint64_t round = 0; round < 200; ++round) {
                std::array<char, 64> bytes{};
                on.stage_read(2 * round + 1, pipe.read, bytes);
                CHECK(on.is_pending(2 * round + 1));
                std::thread writer([&] { (void)!::write(pipe.write, "x", 1); });
                on.stage_cancel(2 * round + 2, 2 * round + 1);
                const std::int32_t cancelled = on.result_of(2 * round + 2);
                const std::int32_t value = on.result_of(2 * round + 1);
                writer.join();
                if (value == -ECANCELED) {
                    CHECK(cancelled == 0);
                    std::array<char, 1> left{};
                    CHECK(::read(pipe.read, left.data(), 1) == 1);
                } else {
                    CHECK(value == 1);
                }
            }
        });
    }

    TEST_CASE("an open of a FIFO that nobody opens at the other end can be cancelled") {
        const temporary_directory folder;
        const std::string path = folder / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        const auto open = [&](io_uring_sqe* sqe) {
            ::io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC, 0);
        };
        on_both_rings([&](driver& on) {
            on.stage(1, open, IOSQE_ASYNC);
            // A cancel that comes a moment earlier can miss io_uring's worker.
            wait_for_fifo_open(on);
            on.stage_cancel(2, 1);
            CHECK(is_broken_off(on.result_of(1)));
        });
        on_poll_ring([&](driver& on) {
            // At any moment: while it is queued, on its way to the call, in the call.
            for (std::uint64_t round = 0; round < 100; ++round) {
                on.stage(2 * round + 1, open);
                CHECK(on.is_pending(2 * round + 1));
                for (std::uint64_t pause = 0; pause < round * 10; ++pause) {
                    std::this_thread::yield();
                }
                on.stage_cancel(2 * round + 2, 2 * round + 1);
                CHECK(is_broken_off(on.result_of(2 * round + 1)));
                (void)on.result_of(2 * round + 2); // says only how far the open had got
            }
        });
    }

    TEST_CASE("an open of a FIFO waits for the other end") {
        on_both_rings([](driver& on) {
            const temporary_directory folder;
            const std::string path = folder / "fifo";
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            on.stage(
                1,
                [&](io_uring_sqe* sqe) {
                    ::io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC, 0);
                },
                IOSQE_ASYNC);
            CHECK(on.is_pending(1));
            // Opens as soon as the reader is there, and lets it go.
            std::thread writer([&] { ::close(::open(path.c_str(), O_WRONLY | O_CLOEXEC)); });
            const descriptor reader(on.result_of(1));
            writer.join();
        });
    }

    TEST_CASE("any number of FIFOs that never open leave the disk to others") {
        on_poll_ring([](driver& on) {
            const temporary_directory folder;
            constexpr std::uint64_t fifos = 40;
            std::vector<std::string> paths;
            for (std::uint64_t i = 0; i < fifos; ++i) {
                paths.push_back(folder / std::to_string(i));
                REQUIRE(::mkfifo(paths.back().c_str(), 0600) == 0);
            }
            for (std::uint64_t i = 0; i < fifos; ++i) {
                on.stage(i, [&](io_uring_sqe* sqe) {
                    ::io_uring_prep_openat(sqe, AT_FDCWD, paths[i].c_str(), O_WRONLY | O_CLOEXEC,
                                           0);
                });
            }
            on.turn(sapwood::ring::dont_wait);
            const descriptor log(
                ::open((folder / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            for (std::uint64_t i = 0; i < 100; ++i) {
                on.stage_write(1000 + i, log, std::string_view("x"));
                CHECK(on.result_of(1000 + i) == 1);
            }
            for (std::uint64_t i = 0; i < fifos; ++i) {
                CHECK(on.is_pending(i));
                on.stage_cancel(2000 + i, i);
            }
            for (std::uint64_t i = 0; i < fifos; ++i) {
                const std::int32_t value = on.result_of(i);
                CHECK(is_broken_off(value));
            }
        });
    }

    TEST_CASE("a ring that is destroyed breaks off what is still in flight") {
        pipe_ends pipe;
        std::array<char, 64> bytes{};
        const temporary_directory folder;
        const std::string path = folder / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        __kernel_timespec late{.tv_sec = 3600, .tv_nsec = 0};
        on_poll_ring([&](driver& on) {
            on.stage_read(1, pipe.read, bytes);
            on.stage(2, [&](io_uring_sqe* sqe) { ::io_uring_prep_timeout(sqe, &late, 0, 0); });
            on.stage(3, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC, 0);
            });
            wait_for_fifo_open(on);
        });
        CHECK(threads_in_fifo_open() == 0);
    }

    // --- links ---

    TEST_CASE("completions that do not fit into the queue are kept, in order") {
        sapwood::poll_ring ring({.sq_entries = 4, .cq_entries = 4});
        driver on(ring);
        for (std::uint64_t i = 0; i < 3; ++i) {
            for (std::uint64_t j = 0; j < 4; ++j) {
                auto* const sqe = ring.next_sqe();
                REQUIRE(sqe != nullptr);
                ::io_uring_prep_nop(sqe);
                sqe->user_data = 4 * i + j;
            }
            CHECK(ring.next_sqe() == nullptr);
            ring.enter(sapwood::ring::dont_wait);
        }
        for (std::uint64_t i = 0; i < 12; ++i) {
            CHECK(on.result_of(i) == 0);
            CHECK(on.order()[i] == i);
        }
    }

    TEST_CASE("more operations than the queues hold are in flight at once") {
        sapwood::poll_ring ring({.sq_entries = 4, .cq_entries = 4});
        driver on(ring);
        pipe_ends pipe;
        constexpr std::uint64_t readers = 500;
        std::vector<char> bytes(readers);
        for (std::uint64_t i = 0; i < readers; ++i) {
            on.stage_read(i, pipe.read, std::span(bytes).subspan(i, 1));
        }
        CHECK(on.is_pending(0));
        const std::string all(readers, 'x');
        REQUIRE(::write(pipe.write, all.data(), all.size()) == readers);
        for (std::uint64_t i = 0; i < readers; ++i) {
            CHECK(on.result_of(i) == 1);
        }
        CHECK(std::string_view(bytes.data(), bytes.size()) == all);
    }

    TEST_CASE("an enter that has no memory for what is staged comes back, and the next takes it") {
        sapwood::poll_ring ring({.sq_entries = 4, .cq_entries = 4});
        driver on(ring);
        pipe_ends pipe;
        constexpr std::uint64_t readers = 64; // as many requests as are made at a time
        std::vector<char> bytes(readers);
        for (std::uint64_t i = 0; i < readers; ++i) {
            on.stage_read(i, pipe.read, std::span(bytes).subspan(i, 1));
        }
        CHECK(on.is_pending(0));
        on.stage_nop(readers);
        const auto give_up = clock::now() + patience;
        {
            const sapwood::test::failing_allocations failing(1);
            on.turn(give_up);
            CHECK(failing.struck());
        }
        CHECK(ring.staged() == 1);
        CHECK(clock::now() < give_up);
        CHECK(on.result_of(readers) == 0);
    }

    TEST_CASE("signals to the process never end in a worker thread") {
        on_poll_ring([](driver& on) {
            const temporary_directory folder;
            const std::string path = folder / "fifo";
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            on.stage(1, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC, 0);
            });
            wait_for_fifo_open(on);
            sigset_t signals;
            ::sigemptyset(&signals);
            ::sigaddset(&signals, SIGUSR1);
            sigset_t before;
            ::pthread_sigmask(SIG_BLOCK, &signals, &before);
            ::kill(::getpid(), SIGUSR1); // would end the process in a thread that takes it
            const timespec at_once{};
            CHECK(::sigtimedwait(&signals, nullptr, &at_once) == SIGUSR1);
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            on.stage_cancel(2, 1);
            CHECK(on.result_of(1) < 0);
        });
    }

    // --- below the loop ---

    TEST_CASE("a file that is a FIFO opens when its other end does") {
        for (const auto kind : both_kinds) {
            if (!has(kind)) {
                continue;
            }
            const temporary_directory folder;
            const std::string path = folder / "fifo";
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            std::string got;
            std::thread writer([&] {
                std::this_thread::yield();
                const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
                (void)!::write(fd, "sapling", 7);
                ::close(fd);
            });
            sapwood::run(read_first(path, got), {.ring = kind});
            writer.join();
            CHECK(got == "sapling");
        }
    }

    TEST_CASE("a cancelled open of a FIFO throws cancelled") {
        for (const auto kind : both_kinds) {
            if (!has(kind)) {
                continue;
            }
            const temporary_directory folder;
            const std::string path = folder / "fifo";
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            bool was_cancelled = false;
            sapwood::run(open_and_be_cancelled(path, was_cancelled), {.ring = kind});
            CHECK(was_cancelled);
        }
    }
}

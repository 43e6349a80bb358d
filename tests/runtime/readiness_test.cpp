// readiness: what waits for a descriptor on poll_ring waits, is served in order, and ends as on the
// kernel's ring. Most cases run on both.
#include "support/ring_driver.hpp"
#include "support/temporary_directory.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <functional>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::test::descriptor;
using sapwood::test::driver;
using sapwood::test::is_broken_off;
using sapwood::test::on_both_rings;
using sapwood::test::on_poll_ring;
using sapwood::test::pipe_ends;
using sapwood::test::temporary_directory;
using sapwood::test::text;

/// A socket that listens on a port of its own on the loopback, and where.
struct listener {
    explicit listener(int flags = 0)
        : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)) {
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::bind(socket, name(), size) == 0);
        REQUIRE(::listen(socket, 16) == 0);
        REQUIRE(::getsockname(socket, name(), &size) == 0);
    }

    sockaddr* name() { return reinterpret_cast<sockaddr*>(&address); }

    sockaddr_in address{};
    socklen_t size = sizeof(address);
    descriptor socket;
};

} // namespace

TEST_SUITE("readiness") {

    TEST_CASE("a read of an empty pipe waits for bytes, whatever its offset") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            std::array<char, 64> bytes{};
            on.stage_read(1, pipe.read, bytes, 7);
            CHECK(on.is_pending(1));
            REQUIRE(::write(pipe.write, "sap", 3) == 3);
            const std::int32_t size = on.result_of(1);
            CHECK(text(bytes, size) == "sap");
        });
    }

    TEST_CASE("a read waits although the descriptor is non-blocking") {
        on_both_rings([](driver& on) {
            std::array<int, 2> ends{};
            REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
            pipe_ends pipe(ends);
            std::array<char, 64> bytes{};
            on.stage_read(1, pipe.read, bytes);
            CHECK(on.is_pending(1));
            REQUIRE(::write(pipe.write, "x", 1) == 1);
            CHECK(on.result_of(1) == 1);
        });
    }

    TEST_CASE("a read ends with 0 when the last writer has gone") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            std::array<char, 64> bytes{};
            on.stage_read(1, pipe.read, bytes);
            CHECK(on.is_pending(1));
            pipe.write.close();
            CHECK(on.result_of(1) == 0);
        });
    }

    TEST_CASE("a write to a pipe without a reader fails with EPIPE") {
        std::signal(SIGPIPE, SIG_IGN);
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            pipe.read.close();
            on.stage_write(1, pipe.write, std::string_view("x"));
            CHECK(on.result_of(1) == -EPIPE);
        });
    }

    TEST_CASE("a write of more than a pipe holds writes a part, and then waits for room") {
        // Not compared: before Linux 6.4 io_uring's own worker blocks until all is written.
        on_poll_ring([](driver& on) {
            pipe_ends pipe;
            const std::vector<char> much(200'000, 'x');
            on.stage_write(1, pipe.write, much);
            const std::int32_t written = on.result_of(1);
            CHECK(written > 0);
            CHECK(written < 200'000);
            // The pipe is as full as it gets.
            on.stage_write(2, pipe.write, much);
            CHECK(on.is_pending(2));
            std::vector<char> out(static_cast<std::size_t>(written));
            REQUIRE(::read(pipe.read, out.data(), out.size()) == written);
            CHECK(on.result_of(2) > 0);
            CHECK((::fcntl(pipe.write, F_GETFL) & O_NONBLOCK) == 0);
        });
    }

    TEST_CASE("what a pipe has no room for is written as a reader makes room, in order") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            std::vector<char> much(300'000);
            for (std::size_t i = 0; i < much.size(); ++i) {
                much[i] = static_cast<char>(i % 251);
            }
            std::vector<char> got;
            std::thread reader([&] {
                std::array<char, 5000> some{};
                for (ssize_t size = 1; size > 0;) {
                    size = ::read(pipe.read, some.data(), some.size());
                    got.insert(got.end(), some.begin(), some.begin() + std::max<ssize_t>(size, 0));
                }
            });
            std::size_t written = 0;
            for (std::uint64_t part = 1; written < much.size(); ++part) {
                on.stage_write(part, pipe.write, std::span(much).subspan(written));
                const std::int32_t size = on.result_of(part);
                REQUIRE(size > 0);
                written += static_cast<std::size_t>(size);
            }
            pipe.write.close();
            reader.join();
            CHECK((got == much));
        });
    }

    TEST_CASE("a FIFO reads and writes as a pipe does and its flags stay what they were") {
        on_both_rings([](driver& on) {
            const temporary_directory folder;
            REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
            const descriptor both(::open((folder / "fifo").c_str(), O_RDWR | O_CLOEXEC));
            std::array<char, 64> bytes{};
            on.stage_read(1, both, bytes);
            CHECK(on.is_pending(1));
            on.stage_write(2, both, std::string_view("resin"));
            CHECK(on.result_of(2) == 5);
            const std::int32_t size = on.result_of(1);
            CHECK(text(bytes, size) == "resin");
            CHECK((::fcntl(both, F_GETFL) & O_NONBLOCK) == 0);
        });
    }

    TEST_CASE("a FIFO takes a part of what is more than it holds") {
        on_poll_ring([](driver& on) {
            const temporary_directory folder;
            REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
            const descriptor both(::open((folder / "fifo").c_str(), O_RDWR | O_CLOEXEC));
            const std::vector<char> much(200'000, 'x');
            on.stage_write(1, both, much);
            const std::int32_t written = on.result_of(1);
            CHECK(written > 0);
            CHECK(written < 200'000);
            CHECK((::fcntl(both, F_GETFL) & O_NONBLOCK) == 0);
        });
    }

    TEST_CASE("readers of one pipe are served in the order in which they came") {
        on_poll_ring([](driver& on) {
            pipe_ends pipe;
            std::array<char, 64> bytes{};
            for (std::uint64_t reader = 1; reader <= 4; ++reader) {
                on.stage_read(reader, pipe.read, std::span(bytes).subspan(reader, 1));
            }
            CHECK(on.is_pending(1));
            REQUIRE(::write(pipe.write, "abcd", 4) == 4);
            for (std::uint64_t reader = 1; reader <= 4; ++reader) {
                CHECK(on.result_of(reader) == 1);
            }
            CHECK(on.order() == std::vector<std::uint64_t>{1, 2, 3, 4});
            CHECK(std::string_view(bytes.data() + 1, 4) == "abcd");
        });
    }

    TEST_CASE("an eventfd is read when it is written, again and again") {
        on_both_rings([](driver& on) {
            const descriptor event(::eventfd(0, EFD_CLOEXEC));
            for (std::uint64_t round = 1; round <= 3; ++round) {
                std::array<char, 8> count{};
                on.stage_read(round, event, count, 0);
                CHECK(on.is_pending(round));
                REQUIRE(::write(event, &round, sizeof(round)) == sizeof(round));
                CHECK(on.result_of(round) == 8);
                std::uint64_t value = 0;
                std::memcpy(&value, count.data(), sizeof(value));
                CHECK(value == round);
            }
        });
    }

    TEST_CASE("an eventfd at its limit is written when there is room") {
        on_both_rings([](driver& on) {
            const descriptor event(::eventfd(0, EFD_CLOEXEC));
            std::uint64_t count = UINT64_MAX - 1;
            REQUIRE(::write(event, &count, sizeof(count)) == sizeof(count));
            const std::uint64_t one = 1;
            std::array<char, 8> bytes{};
            std::memcpy(bytes.data(), &one, sizeof(one));
            on.stage_write(1, event, bytes, 0);
            CHECK(on.is_pending(1));
            REQUIRE(::read(event, &count, sizeof(count)) == sizeof(count));
            CHECK(on.result_of(1) == 8);
        });
    }

    TEST_CASE("a signalfd tells of a signal to the process, and to the loop's own thread") {
        sigset_t signals;
        ::sigemptyset(&signals);
        ::sigaddset(&signals, SIGUSR2);
        sigset_t before;
        ::pthread_sigmask(SIG_BLOCK, &signals, &before);
        const auto take_one = [&](driver& on, const std::function<void()>& send) {
            const descriptor signal(::signalfd(-1, &signals, SFD_CLOEXEC));
            std::array<char, sizeof(signalfd_siginfo)> bytes{};
            on.stage_read(1, signal, bytes);
            CHECK(on.is_pending(1));
            send();
            CHECK(on.result_of(1) == static_cast<std::int32_t>(bytes.size()));
        };
        on_both_rings([&](driver& on) { take_one(on, [] { ::kill(::getpid(), SIGUSR2); }); });
        // Before Linux 6.9 io_uring's worker does not see what is sent to the loop's thread.
        on_poll_ring([&](driver& on) { take_one(on, [] { std::raise(SIGUSR2); }); });
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    TEST_CASE("a socket is read and written as it can, and waits when it cannot") {
        on_both_rings([](driver& on) {
            std::array<int, 2> ends{};
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
            const descriptor left(ends[0]);
            const descriptor right(ends[1]);
            std::array<char, 64> bytes{};
            on.stage_read(1, left, bytes);
            CHECK(on.is_pending(1));
            on.stage_write(2, right, std::string_view("bark"));
            CHECK(on.result_of(2) == 4);
            CHECK(on.result_of(1) == 4);
        });
    }

    TEST_CASE("accepting waits for a connection, whatever the flags of the listener") {
        for (const int flags : {0, int{SOCK_NONBLOCK}}) {
            on_both_rings([flags](driver& on) {
                listener at(flags);
                const auto accept = [&](io_uring_sqe* sqe) {
                    ::io_uring_prep_accept(sqe, at.socket, nullptr, nullptr, SOCK_CLOEXEC);
                };
                on.stage(1, accept);
                CHECK(on.is_pending(1));
                const descriptor peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
                on.stage(2, [&](io_uring_sqe* sqe) {
                    ::io_uring_prep_connect(sqe, peer, at.name(), at.size);
                });
                CHECK(on.result_of(2) == 0);
                const descriptor accepted(on.result_of(1));
                CHECK((::fcntl(at.socket, F_GETFL) & O_NONBLOCK) == (flags != 0 ? O_NONBLOCK : 0));
                CHECK((::fcntl(accepted, F_GETFD) & FD_CLOEXEC) != 0);
            });
        }
    }

    TEST_CASE("a cancelled accept ends with ECANCELED and leaves the next one in line") {
        for (const int flags : {0, int{SOCK_NONBLOCK}}) {
            on_both_rings([flags](driver& on) {
                listener at(flags);
                const auto accept = [&](io_uring_sqe* sqe) {
                    ::io_uring_prep_accept(sqe, at.socket, nullptr, nullptr, SOCK_CLOEXEC);
                };
                on.stage(1, accept);
                CHECK(on.is_pending(1));
                on.stage_cancel(9, 1);
                CHECK(is_broken_off(on.result_of(1)));
                on.stage(2, accept);
                CHECK(on.is_pending(2));
                const descriptor peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
                REQUIRE(::connect(peer, at.name(), at.size) == 0);
                const descriptor accepted(on.result_of(2));
            });
        }
    }

    TEST_CASE("connecting to where nobody listens fails with ECONNREFUSED") {
        for (const int flags : {0, int{SOCK_NONBLOCK}}) {
            on_both_rings([flags](driver& on) {
                listener at;
                at.socket.close();
                const descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
                on.stage(1, [&](io_uring_sqe* sqe) {
                    ::io_uring_prep_connect(sqe, socket, at.name(), at.size);
                });
                CHECK(on.result_of(1) == -ECONNREFUSED);
            });
        }
    }

    TEST_CASE("a receive waits for bytes, a send for room, and a cancel ends either") {
        on_both_rings([](driver& on) {
            std::array<int, 2> ends{};
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
            const descriptor left(ends[0]);
            const descriptor right(ends[1]);
            std::array<char, 64> bytes{};
            const auto receive = [&](io_uring_sqe* sqe) {
                ::io_uring_prep_recv(sqe, left, bytes.data(), bytes.size(), 0);
            };
            on.stage(1, receive);
            CHECK(on.is_pending(1));
            on.stage_cancel(9, 1);
            CHECK(on.result_of(1) == -ECANCELED);
            on.stage(2, receive);
            on.stage(3, [&](io_uring_sqe* sqe) { ::io_uring_prep_send(sqe, right, "bark", 4, 0); });
            CHECK(on.result_of(3) == 4);
            CHECK(on.result_of(2) == 4);
            CHECK(text(bytes, 4) == "bark");

            const std::vector<char> many(1 << 20, 'x');
            iovec part{.iov_base = const_cast<char*>(many.data()), .iov_len = many.size()};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            const auto send = [&](io_uring_sqe* sqe) {
                ::io_uring_prep_sendmsg(sqe, right, &message, 0);
            };
            on.stage(4, send);
            const std::int32_t sent = on.result_of(4);
            CHECK(sent > 0);
            CHECK(sent < (1 << 20));
            while (::send(right, many.data(), many.size(), MSG_DONTWAIT) > 0) {
            }
            on.stage(5, send);
            CHECK(on.is_pending(5));
            on.stage_cancel(10, 5);
            CHECK(on.result_of(5) == -ECANCELED);
        });
    }

    TEST_CASE("a shutdown ends what the peer receives, and a send to one that is gone is EPIPE") {
        on_both_rings([](driver& on) {
            std::array<int, 2> ends{};
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
            const descriptor left(ends[0]);
            descriptor right(ends[1]);
            std::array<char, 64> bytes{};
            on.stage(1, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_recv(sqe, left, bytes.data(), bytes.size(), 0);
            });
            on.stage(2, [&](io_uring_sqe* sqe) { ::io_uring_prep_shutdown(sqe, right, SHUT_WR); });
            CHECK(on.result_of(2) == 0);
            CHECK(on.result_of(1) == 0);
            right.close();
            on.stage(3, [&](io_uring_sqe* sqe) { ::io_uring_prep_send(sqe, left, "x", 1, 0); });
            CHECK(on.result_of(3) == -EPIPE);
        });
    }

    TEST_CASE("socket calls on what is no socket fail with ENOTSOCK") {
        on_both_rings([](driver& on) {
            const pipe_ends pipe;
            char byte = 0;
            on.stage(1,
                     [&](io_uring_sqe* sqe) { ::io_uring_prep_recv(sqe, pipe.read, &byte, 1, 0); });
            on.stage(2, [&](io_uring_sqe* sqe) {
                ::io_uring_prep_accept(sqe, pipe.read, nullptr, nullptr, 0);
            });
            CHECK(on.result_of(1) == -ENOTSOCK);
            CHECK(on.result_of(2) == -ENOTSOCK);
        });
    }

    TEST_CASE("a descriptor's number that is used again is not mistaken for its predecessor") {
        on_both_rings([](driver& on) {
            pipe_ends old;
            std::array<char, 64> bytes{};
            on.stage_read(1, old.read, bytes);
            CHECK(on.is_pending(1));
            on.stage_cancel(2, 1);
            CHECK(on.result_of(1) == -ECANCELED);
            // The old pipe lives on elsewhere, as it does in a child process.
            const descriptor elsewhere(::dup(old.read));
            pipe_ends next;
            const int number = old.read;
            REQUIRE(::dup2(next.read, number) == number);
            REQUIRE(::write(old.write, "old", 3) == 3);
            on.stage_read(3, number, bytes);
            CHECK(on.is_pending(3));
            REQUIRE(::write(next.write, "next", 4) == 4);
            const std::int32_t size = on.result_of(3);
            CHECK(text(bytes, size) == "next");
        });
    }
}

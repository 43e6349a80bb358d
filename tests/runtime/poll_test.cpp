// poll: readiness without a read.
#include "support/co_test.hpp"

#include <sapwood/poll.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <array>
#include <string_view>
#include <unistd.h>

namespace {

using sapwood::file;
using sapwood::task;

struct pipe_ends {
    pipe_ends() {
        std::array<int, 2> fds{};
        REQUIRE(::pipe2(fds.data(), O_CLOEXEC) == 0);
        reader = file(fds[0]);
        writer = file(fds[1]);
    }

    file reader;
    file writer;
};

task<short> polled(file& of, short events) {
    co_return co_await sapwood::poll(of, events);
}

} // namespace

TEST_SUITE("poll") {

    CO_TEST_CASE("poll waits until there is something to read, and leaves it there") {
        pipe_ends pipe;
        auto waiting = sapwood::spawn(polled(pipe.reader, POLLIN));
        co_await sapwood::yield();
        co_await sapwood::yield();
        CHECK(!waiting.done());

        co_await pipe.writer.write_all(std::string_view("x"));
        CHECK(co_await waiting == POLLIN);
        char byte = 0;
        CHECK(co_await pipe.reader.read_some({&byte, 1}) == 1);
    }

    CO_TEST_CASE("poll tells that the other end is closed") {
        pipe_ends pipe;
        co_await pipe.writer.close();
        CHECK(co_await sapwood::poll(pipe.reader, POLLIN) == POLLHUP);
    }

    CO_TEST_CASE("poll returns what holds already") {
        pipe_ends pipe;
        CHECK(co_await sapwood::poll(pipe.writer, POLLIN | POLLOUT) == POLLOUT);
    }

    CO_TEST_CASE("a poll can be cancelled") {
        pipe_ends pipe;
        auto waiting = sapwood::spawn(polled(pipe.reader, POLLIN));
        co_await sapwood::yield();
        co_await sapwood::yield();
        waiting.cancel();
        bool was_cancelled = false;
        try {
            (void)co_await waiting;
        } catch (const sapwood::cancelled&) {
            was_cancelled = true;
        }
        CHECK(was_cancelled);
    }

    CO_TEST_CASE("a poll for nothing ends when the other end is closed") {
        pipe_ends pipe;
        auto waiting = sapwood::spawn(polled(pipe.reader, 0));
        co_await sapwood::yield();
        co_await sapwood::yield();
        CHECK(!waiting.done());
        co_await pipe.writer.close();
        CHECK(co_await waiting == POLLHUP);
    }

    CO_TEST_CASE("the descriptor of a library is waited for, and stays the library's") {
        pipe_ends pipe;
        auto poll_it = [](int fd) -> task<short> { co_return co_await sapwood::poll(fd, POLLIN); };
        auto given_up = sapwood::spawn(poll_it(pipe.reader.fd()));
        auto waiting = sapwood::spawn(poll_it(pipe.reader.fd()));
        co_await sapwood::yield();
        given_up.cancel();
        CHECK_THROWS_AS(co_await given_up, sapwood::cancelled);
        co_await pipe.writer.write_all(std::string_view("x"));
        CHECK(co_await waiting == POLLIN);
        char byte = 0;
        CHECK(co_await pipe.reader.read_some({&byte, 1}) == 1);
        CHECK_THROWS_WITH_AS(co_await sapwood::poll(-1, POLLIN),
                             doctest::Contains("poll of file descriptor -1"), std::system_error);
    }
}

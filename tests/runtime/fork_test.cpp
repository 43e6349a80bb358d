// fork: what a child process may do with the objects that it has copies of. It may destroy all of
// them, in any order, and run a loop of its own; it may not go on in its parent's.
#include "support/child_process.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/file.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/remote_sender.hpp>
#include <sapwood/run.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/unix_socket.hpp>

#include <array>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace std::string_view_literals;
using sapwood::event_loop;
using sapwood::task;
using sapwood::tcp_listener;
using sapwood::tcp_stream;
using sapwood::test::last_words;

/// Whether `body`, run in a forked child, comes to its end there and returns true.
bool holds_in_child(const std::function<bool()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        ::_exit(body() ? 0 : 1);
    }
    int status = -1;
    return ::waitpid(child, &status, 0) == child && status == 0;
}

bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

/// A connection on which a receive is in flight between two runs of the loop, and the listener,
/// which goes on accepting.
struct conversation {
    std::unique_ptr<event_loop> loop = std::make_unique<event_loop>();
    std::optional<tcp_listener> listener;
    std::optional<tcp_stream> client;
    std::optional<tcp_stream> server;

    conversation() {
        loop->run([](conversation& all) -> task<> {
            all.listener.emplace(sapwood::test::loopback());
            all.client = co_await tcp_stream::connect(all.listener->local_endpoint());
            all.server = co_await all.listener->accept();
            co_await all.exchange();
        }(*this));
    }

    task<> exchange() {
        co_await client->write_all("hello"sv);
        const auto piece = co_await server->receive();
        CHECK(piece.text() == "hello");
    }

    /// Everything still is as it was.
    void check() {
        loop->run([](conversation& all) -> task<> {
            co_await all.exchange();
            auto another = co_await tcp_stream::connect(all.listener->local_endpoint());
            CHECK((co_await all.listener->accept()).is_open());
            co_await all.server->close();
            std::array<char, 1> byte{};
            CHECK(co_await all.client->read_some(byte) == 0);
        }(*this));
    }
};

} // namespace

TEST_SUITE("fork") {

    TEST_CASE(
        "a child's copies of sockets close in the child, and stay what they are in the parent") {
        conversation all;
        CHECK(holds_in_child([&] {
            const std::array<int, 3> fds{all.server->fd(), all.listener->fd(), all.client->fd()};
            all.server.reset();
            all.listener.reset();
            all.client.reset();
            all.loop.reset();
            return !is_open(fds[0]) && !is_open(fds[1]) && !is_open(fds[2]);
        }));
        all.check();
    }

    TEST_CASE("a child may destroy the loop before what was used on it") {
        conversation all;
        CHECK(holds_in_child([&] {
            const std::array<int, 2> fds{all.server->fd(), all.listener->fd()};
            all.loop.reset();
            all.server.reset();
            all.listener.reset();
            return !is_open(fds[0]) && !is_open(fds[1]);
        }));
        all.check();
    }

    TEST_CASE("a child closes its copies in a loop of its own") {
        conversation all;
        CHECK(holds_in_child([&] {
            const std::array<int, 2> fds{all.server->fd(), all.listener->fd()};
            sapwood::run([](conversation& copies) -> task<> {
                co_await copies.server->close();
                co_await copies.listener->close();
            }(all));
            return !is_open(fds[0]) && !is_open(fds[1]);
        }));
        all.check();
    }

    TEST_CASE("a child that destroys all copies from within a task harms nobody") {
        conversation all;
        bool was_right = false;
        all.loop->run([](conversation& copies, bool& right) -> task<> {
            right = holds_in_child([&] {
                copies.server.reset();
                copies.listener.reset();
                copies.client.reset();
                return true;
            });
            co_return;
        }(all, was_right));
        CHECK(was_right);
        all.check();
    }

    TEST_CASE("the path of a Unix listener stays when a child destroys its copy") {
        const sapwood::test::temporary_directory directory;
        const auto at = sapwood::endpoint::unix_path(directory / "socket");
        auto listener = std::make_unique<sapwood::unix_listener>(at);
        CHECK(holds_in_child([&] {
            listener.reset();
            return true;
        }));
        CHECK(std::filesystem::exists(at.path()));
        listener.reset();
        CHECK_FALSE(std::filesystem::exists(at.path()));
    }

    TEST_CASE("files and pipes close in a child as they do in the parent") {
        auto ends = sapwood::pipe::make();
        CHECK(holds_in_child([&] {
            const int fd = ends.writer.fd();
            ends.writer = sapwood::file();
            return !is_open(fd);
        }));
        sapwood::run([](sapwood::pipe& both) -> task<> {
            co_await both.writer.write_all("x"sv);
            std::array<char, 1> byte{};
            CHECK(co_await both.reader.read_some(byte) == 1);
        }(ends));
    }

    TEST_CASE("a child does not wait for the threads of its parent's pool") {
        auto pool = std::make_unique<sapwood::blocking_pool>(2);
        const auto seven = [](sapwood::blocking_pool& on) -> task<int> {
            co_return co_await on.run([] { return 7; });
        };
        CHECK(sapwood::run(seven(*pool)) == 7);
        CHECK(holds_in_child([&] {
            pool.reset();
            return true;
        }));
        CHECK(sapwood::run(seven(*pool)) == 7);
        CHECK(last_words([&] { (void)sapwood::run(seven(*pool)); }) ==
              doctest::Contains("a blocking_pool was used in a forked child"));
    }

    TEST_CASE("a remote sender may go in a child after the loop, and is refused there") {
        auto loop = std::make_unique<event_loop>();
        std::optional<sapwood::channel<int>> numbers(4);
        std::optional<sapwood::remote_sender<int>> door;
        loop->run([](auto& channel, auto& into) -> task<> {
            into.emplace(*channel);
            co_return;
        }(numbers, door));
        CHECK(holds_in_child([&] {
            loop.reset();
            bool is_refused = false;
            try {
                (void)door->try_send(1);
            } catch (const std::system_error&) {
                is_refused = true;
            }
            door.reset();
            numbers.reset();
            return is_refused;
        }));
        CHECK(door->try_send(2));
        loop->run(
            [](auto& channel) -> task<> { CHECK(co_await channel->receive() == 2); }(numbers));
    }

    TEST_CASE("a child that goes on in its parent's loop hits the assertion, whatever it awaits") {
        auto ends = sapwood::pipe::make();
        auto read_in_child = [](sapwood::file& from) -> task<> {
            if (const pid_t child = ::fork(); child != 0) {
                ::waitpid(child, nullptr, 0);
                std::abort();
            }
            std::array<char, 1> byte{};
            (void)co_await from.read_some(byte);
        };
        CHECK(last_words([&] { sapwood::run(read_in_child(ends.reader)); }) ==
              doctest::Contains("an event_loop was used in a child process"));
    }
}

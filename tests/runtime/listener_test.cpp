// listener: accepting when there is no room for another connection.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/conduit.hpp"
#include "support/scripted_ring.hpp"
#include "support/sockets.hpp"
#include "support/unread_standard_error.hpp"

#include <sapwood/pipe.hpp>
#include <sapwood/resolve.hpp>
#include <sapwood/say.hpp>
#include <sapwood/unix_socket.hpp>

#include <array>
#include <deque>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace {

using sapwood::task;
using sapwood::tcp_listener;
using sapwood::tcp_stream;
using sapwood::test::loopback;
using sapwood::test::settle;

/// Accepts once on a ring that answers with these errors first, and tells what was reported: to
/// itself, or nothing where it goes to standard error.
std::vector<std::string> lines_after(std::deque<int> errors, bool asks = true) {
    auto made = std::make_unique<sapwood::test::scripted_ring>();
    auto& ring = *made;
    sapwood::event_loop loop(std::move(made));
    ring.answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
        if (sqe.opcode != IORING_OP_ACCEPT) {
            return std::nullopt;
        }
        if (errors.empty()) {
            return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        const int error = errors.front();
        errors.pop_front();
        return -error;
    };
    std::vector<std::string> lines;
    auto body = [&]() -> task<> {
        tcp_listener listener(loopback());
        if (asks) {
            listener.on_pause([&](std::string_view line) { lines.emplace_back(line); });
        }
        const auto got = co_await listener.accept();
        CHECK(got.is_open());
    };
    loop.run(body());
    CHECK(errors.empty());
    return lines;
}

/// A task that accepts, and pauses for want of descriptors, of which there are some again.
task<sapwood::join_handle<tcp_stream>> accept_in_pause(tcp_listener& listener) {
    std::size_t lines = 0;
    listener.on_pause([&](std::string_view) { ++lines; });
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{0, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    auto accepting = sapwood::spawn(listener.accept());
    while (lines == 0) {
        co_await sapwood::yield();
    }
    ::setrlimit(RLIMIT_NOFILE, &before); // which the pause does not see before it is over
    listener.on_pause([](std::string_view) {});
    co_return accepting;
}

doctest::String shown(const std::string& line) {
    return line.c_str();
}

} // namespace

TEST_SUITE("listener") {

    TEST_CASE("a connection that is gone before it is accepted is skipped without a word") {
        CHECK(lines_after({ECONNABORTED, EPROTO, ENETUNREACH, ECONNABORTED}).empty());
    }

    TEST_CASE("want of descriptors or memory pauses accepting and is reported once") {
        for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
            const auto lines = lines_after({error, error, ECONNABORTED, error});
            REQUIRE(lines.size() == 2);
            CHECK(shown(lines[0]) == doctest::Contains("accepting on 127.0.0.1:"));
            CHECK(shown(lines[0]) == doctest::Contains("pauses: "));
            CHECK(shown(lines[0]) == doctest::Contains("every 100 ms"));
            CHECK(shown(lines[1]) == doctest::Contains("goes on"));
        }
    }

    TEST_CASE("of its lines on standard error it waits for none that nobody takes") {
        const sapwood::test::unread_standard_error pipe;
        (void)lines_after({EMFILE}, false);
        const std::string heard = pipe.read();
        pipe.fill();
        (void)lines_after({EMFILE}, false);
        (void)pipe.read();
        sapwood::detail::say("next");
        const std::string more = pipe.read();
        CHECK(shown(heard) == doctest::Contains("sapwood: accepting on 127.0.0.1:"));
        CHECK(shown(heard) == doctest::Contains("goes on\n"));
        CHECK(more == "sapwood: 2 lines were left out here: nobody took them\nsapwood: next\n");
    }

    TEST_CASE("other errors of accept are the caller's") {
        CHECK_THROWS_AS(lines_after({EPERM}), std::system_error);
        CHECK_THROWS_AS(lines_after({EINVAL, EINVAL}), std::system_error);
    }

    TEST_CASE("a ring that does not accept again and again is asked for one at a time") {
        auto made = std::make_unique<sapwood::test::scripted_ring>();
        auto& ring = *made;
        sapwood::event_loop loop(std::move(made));
        std::vector<int> multishot;
        ring.answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode != IORING_OP_ACCEPT) {
                return std::nullopt;
            }
            multishot.push_back(sqe.ioprio != 0 ? 1 : 0);
            return sqe.ioprio != 0 ? -EINVAL : ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        };
        auto body = [&]() -> task<> {
            tcp_listener listener(loopback());
            for (int i = 0; i < 3; ++i) {
                const auto got = co_await listener.accept();
                CHECK(got.is_open());
            }
        };
        loop.run(body());
        CHECK(multishot == std::vector<int>{1, 0, 0, 0});
    }

    CO_TEST_CASE("where nobody accepts any more, connections stay in the backlog") {
        tcp_listener listener(loopback());
        std::vector<tcp_stream> clients;
        std::vector<tcp_stream> servers;
        clients.push_back(co_await tcp_stream::connect(listener.local_endpoint()));
        servers.push_back(co_await listener.accept());
        const int first_free = ::dup(0);
        ::close(first_free);
        for (int i = 0; i < 100; ++i) {
            clients.push_back(co_await tcp_stream::connect(listener.local_endpoint()));
            co_await settle();
        }
        const int next_free = ::dup(0);
        ::close(next_free);
        CHECK(next_free - first_free < 100 + 40);
        for (int i = 0; i < 100; ++i) {
            servers.push_back(co_await listener.accept());
        }
        CHECK(servers.size() == 101);
        for (std::size_t i = 0; i < servers.size(); ++i) {
            CHECK(servers[i].peer_endpoint() == clients[i].local_endpoint());
        }
    }

    CO_TEST_CASE("a burst of connections is accepted whole") {
        tcp_listener listener(loopback());
        std::vector<tcp_stream> clients;
        for (int i = 0; i < 200; ++i) {
            clients.push_back(co_await tcp_stream::connect(listener.local_endpoint()));
        }
        for (auto& client : clients) {
            const auto server = co_await listener.accept();
            CHECK(server.peer_endpoint() == client.local_endpoint());
        }
    }

    CO_TEST_CASE("a listener that is destroyed gives its port back at once") {
        sapwood::endpoint at;
        {
            tcp_listener listener(loopback());
            at = listener.local_endpoint();
            auto client = co_await tcp_stream::connect(at);
            auto server = co_await listener.accept();
            sapwood::test::reset_on_close(client);
            sapwood::test::reset_on_close(server);
        }
        tcp_listener again(at);
        auto client = co_await tcp_stream::connect(at);
        CHECK((co_await again.accept()).peer_endpoint() == client.local_endpoint());
    }

    CO_TEST_CASE("close() ends the wait of who accepts") {
        tcp_listener listener(loopback());
        auto accepting = sapwood::spawn(listener.accept());
        co_await settle();
        co_await listener.close();
        auto ended = [&accepting] { return std::move(accepting); };
        auto [code, text] = co_await sapwood::test::failure_of(ended);
        CHECK(code == std::errc::operation_canceled);
        CHECK(text.find("a socket that has been closed") != text.npos);
    }

    CO_TEST_CASE("close() waits until nothing accepts any more, and closes who nobody asked for") {
        tcp_listener listener(loopback());
        const auto at = listener.local_endpoint();
        auto first = co_await tcp_stream::connect(at);
        auto accepted = co_await listener.accept();
        auto second = co_await tcp_stream::connect(at);
        co_await settle();
        co_await listener.close();
        CHECK_FALSE(listener.is_open());
        std::array<char, 4> bytes{};
        const auto outcome = co_await sapwood::as_result(second.read_some(bytes));
        CHECK((outcome ? *outcome == 0 : outcome.error() == std::errc::connection_reset));
        CHECK_THROWS_AS((void)co_await tcp_stream::connect(at), std::system_error);
    }

    TEST_CASE("a process out of descriptors accepts again when it has some") {
        const auto outcome = sapwood::test::in_child([] {
            std::vector<std::string> lines;
            auto body = [&]() -> task<> {
                tcp_listener listener(loopback());
                listener.on_pause([&](std::string_view line) { lines.emplace_back(line); });
                auto client = co_await tcp_stream::connect(listener.local_endpoint());
                std::vector<sapwood::owned_fd> hoard;
                for (;;) {
                    sapwood::owned_fd one(::dup(client.fd()));
                    if (!one.is_open()) {
                        break;
                    }
                    hoard.push_back(std::move(one));
                }
                auto accepting = sapwood::spawn(listener.accept());
                while (lines.empty()) {
                    co_await sapwood::yield();
                }
                hoard.clear();
                const auto server = co_await accepting;
                lines.emplace_back(server.is_open() ? "accepted" : "not accepted");
            };
            const rlimit limit{64, 64};
            ::setrlimit(RLIMIT_NOFILE, &limit);
            sapwood::run(body());
            return lines.size() == 3 && lines[0].find("ulimit -n") != std::string::npos
                       ? lines[2]
                       : "wrong lines";
        });
        CHECK(outcome == "accepted");
    }

    TEST_CASE("out of descriptors everything that wants one fails, says why and leaks none") {
        const auto outcome = sapwood::test::in_child([] {
            std::string wrong;
            auto body = [&]() -> task<> {
                using sapwood::test::failure_of;
                tcp_listener listener(loopback());
                const auto at = listener.local_endpoint();
                // UBSan looks at each type once, and needs a descriptor for that: have it look now.
                const auto [none, text] =
                    co_await failure_of([] { return sapwood::file::open("/no/such/file"); });
                wrong += none == std::errc::no_such_file_or_directory ? "" : text;
                (void)co_await failure_of([&] { return tcp_stream::connect(at); });
                (void)co_await failure_of([] { return sapwood::resolve("localhost", "80"); });
                const std::size_t before = sapwood::test::open_descriptors();
                std::vector<sapwood::owned_fd> hoard;
                while (hoard.empty() || hoard.back().is_open()) {
                    hoard.emplace_back(::dup(listener.fd()));
                }
                hoard.pop_back();
                const auto expect = [&](const char* what,
                                        const std::pair<std::error_code, std::string>& failure) {
                    if (failure.first != std::errc::too_many_files_open) {
                        wrong += std::string(what) + ": " + failure.second + "; ";
                    }
                };
                const auto refused = [](auto make) {
                    return [make]() -> task<> {
                        (void)make();
                        co_return;
                    };
                };
                for (int round = 0; round < 3; ++round) {
                    expect("open",
                           co_await failure_of([] { return sapwood::file::open("/dev/null"); }));
                    expect("connect", co_await failure_of([&] { return tcp_stream::connect(at); }));
                    expect("resolve",
                           co_await failure_of([] { return sapwood::resolve("localhost", "80"); }));
                    auto make_pipe = refused([] { return sapwood::pipe::make(); });
                    expect("pipe", co_await failure_of(make_pipe));
                    auto make_pair = refused([] { return sapwood::unix_stream::make_pair(); });
                    expect("socketpair", co_await failure_of(make_pair));
                    // With one left, half of a pair must not stay behind.
                    hoard.pop_back();
                    expect("half a pipe", co_await failure_of(make_pipe));
                    expect("half a pair", co_await failure_of(make_pair));
                    hoard.emplace_back(::dup(listener.fd()));
                }
                hoard.clear();
                if (sapwood::test::open_descriptors() != before) {
                    wrong += "descriptors were left open";
                }
            };
            const rlimit limit{64, 64};
            ::setrlimit(RLIMIT_NOFILE, &limit);
            sapwood::run(body());
            return wrong.empty() ? std::string("all refused") : wrong;
        });
        CHECK(outcome == "all refused");
    }

    CO_TEST_CASE("a client that resets before it is accepted harms nobody behind it") {
        tcp_listener listener(loopback());
        auto gone = co_await tcp_stream::connect(listener.local_endpoint());
        sapwood::test::reset_on_close(gone);
        co_await gone.close();
        auto stays = co_await tcp_stream::connect(listener.local_endpoint());
        co_await stays.write_all(std::string_view("here"));
        std::string heard;
        while (heard.empty()) {
            // The kernel may give out the dead connection, which then ends at its first read.
            auto next = co_await listener.accept();
            std::string bytes(4, ' ');
            const auto read = co_await sapwood::as_result(next.read_some(bytes));
            heard = read ? bytes : "";
        }
        CHECK(heard == "here");
    }

    CO_TEST_CASE("a pause can be cancelled") {
        tcp_listener listener(loopback());
        auto accepting = co_await accept_in_pause(listener);
        accepting.cancel();
        CHECK_THROWS_AS((void)co_await accepting, sapwood::cancelled);
    }

    CO_TEST_CASE("a listener that is closed while it pauses ends who accepts") {
        tcp_listener listener(loopback());
        auto accepting = co_await accept_in_pause(listener);
        co_await listener.close();
        auto ended = [&accepting] { return std::move(accepting); };
        auto [code, text] = co_await sapwood::test::failure_of(ended);
        CHECK(code == std::errc::operation_canceled);
        CHECK(text.find("a socket that has been closed") != text.npos);
    }

    TEST_CASE("a listener that is destroyed while it pauses hits the assertion") {
        const auto misuse = []() -> task<> {
            auto listener = std::make_unique<tcp_listener>(loopback());
            auto accepting = co_await accept_in_pause(*listener);
            listener.reset();
        };
        CHECK(sapwood::test::last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("destroyed while operations are in flight"));
    }
}

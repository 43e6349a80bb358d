// serve: a task per connection, and none left behind.
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/serve.hpp>
#include <sapwood/sleep.hpp>

#include <array>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::task;
using sapwood::tcp_listener;
using sapwood::tcp_stream;
using sapwood::test::loopback;
using sapwood::test::settle;

/// Found beside sapwood's when its first argument is of sapwood.
int serve(const sapwood::endpoint&, int number) {
    return number;
}

} // namespace

TEST_SUITE("serve") {

    CO_TEST_CASE("every connection has a task of its own, and the end of serve ends them all") {
        tcp_listener listener(loopback());
        int begun = 0;
        int ended = 0;
        auto serving = sapwood::spawn(sapwood::serve(listener, [&](tcp_stream stream) -> task<> {
            ++begun;
            std::array<char, 64> bytes{};
            bool is_cancelled = false;
            try {
                while (const auto got = co_await stream.read_some(bytes)) {
                    co_await stream.write_all(std::span<const char>(bytes).first(got));
                }
            } catch (const sapwood::cancelled&) {
                is_cancelled = true;
            }
            if (is_cancelled) {
                co_await sapwood::sleep_for(1s); // which serve waits for
            }
            ++ended;
        }));
        std::vector<tcp_stream> clients;
        for (int i = 0; i < 10; ++i) {
            auto client = co_await tcp_stream::connect(listener.local_endpoint());
            co_await client.write_all("hello"sv);
            std::array<char, 5> bytes{};
            CHECK(co_await client.read_exactly(bytes));
            clients.push_back(std::move(client));
        }
        co_await clients.front().close();
        while (ended == 0) {
            co_await sapwood::yield();
        }
        serving.cancel();
        CHECK_THROWS_AS(co_await serving, sapwood::cancelled);
        CHECK(begun == 10);
        CHECK(ended == 10);
    }

    CO_TEST_CASE("a connection that has not begun when serve ends is closed") {
        tcp_listener listener(loopback());
        auto serving = sapwood::spawn(sapwood::serve(
            listener, [](tcp_stream) -> task<> { co_await sapwood::sleep_for(1h); }));
        for (int i = 0; i < 20; ++i) {
            const auto client = co_await tcp_stream::connect(listener.local_endpoint());
        }
        serving.cancel();
        CHECK_THROWS_AS(co_await serving, sapwood::cancelled);
    }

    TEST_CASE("what a connection throws ends it alone and is reported") {
        int reported = 0;
        sapwood::loop_options options;
        options.on_unhandled_exception = [&](const std::exception_ptr&) { ++reported; };
        auto body = []() -> task<> {
            tcp_listener listener(loopback());
            int calls = 0;
            auto serving =
                sapwood::spawn(sapwood::serve(listener, [&](tcp_stream stream) -> task<> {
                    if (++calls == 1) {
                        throw std::runtime_error("of one connection");
                    }
                    co_await stream.write_all("fine"sv);
                }));
            auto first = co_await tcp_stream::connect(listener.local_endpoint());
            CHECK(co_await sapwood::test::read_to_end(first) == "");
            auto second = co_await tcp_stream::connect(listener.local_endpoint());
            CHECK(co_await sapwood::test::read_to_end(second) == "fine");
            serving.cancel();
            CHECK_THROWS_AS(co_await serving, sapwood::cancelled);
        };
        sapwood::test::run_virtual(body(), std::move(options));
        CHECK(reported == 1);
    }

    TEST_CASE("a program may have a serve of its own") {
        CHECK(serve(sapwood::endpoint(), 3) == 3);
    }
}

// datagram_log_sink: lines over UDP.
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/log_records.hpp"
#include "support/sockets.hpp"

#include <sapwood/datagram.hpp>
#include <sapwood/datagram_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/resolve.hpp>
#include <sapwood/run.hpp>

#include <atomic>
#include <doctest/doctest.h>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace {

using namespace sapwood;
using test::write_text;
using strings = std::vector<std::string>;

udp_log_sink_options to(const udp_socket& server) {
    return {.host = "127.0.0.1", .port = std::to_string(server.local_endpoint().port())};
}

task<strings> take(udp_socket& from, std::size_t count) {
    strings all;
    std::string one(65'536, '\0');
    while (all.size() < count) {
        const datagram got = co_await from.receive_from(one);
        all.push_back(one.substr(0, got.size));
    }
    co_return all;
}

/// Names whose addresses a test says.
std::shared_ptr<resolver> names_that_are(std::shared_ptr<std::vector<endpoint>> addresses) {
    return std::make_shared<resolver>(2, [addresses](const name_query&) { return *addresses; });
}

udp_log_sink_options to_host(std::vector<endpoint> addresses) {
    return {.host = "log.example",
            .port = "514",
            .names = names_that_are(std::make_shared<std::vector<endpoint>>(std::move(addresses)))};
}

} // namespace

TEST_SUITE("datagram_log_sink") {

    CO_TEST_CASE("a record is a datagram") {
        udp_socket server(test::loopback());
        udp_log_sink sink(to(server));
        co_await sink.open();
        std::string text;
        strings expected;
        for (int i = 0; i < 150; ++i) { // more than go in one system call
            expected.push_back("record " + std::to_string(i));
            text += expected.back() + "\n";
        }
        co_await write_text(sink, text);
        CHECK(co_await take(server, 150) == expected);
        co_await sink.close();
    }

    CO_TEST_CASE("a record that is too long is cut, says so and is counted") {
        udp_socket server(test::loopback());
        auto options = to(server);
        options.limits.bytes_max = 100;
        udp_log_sink sink(options);
        co_await sink.open();
        co_await write_text(sink, std::string(100, 'x') + "\n" + std::string(101, 'y') + "\n");
        const auto got = co_await take(server, 2);
        CHECK(got == strings{std::string(100, 'x'), std::string(94, 'y') + "\\(cut)"});
        CHECK(sink.records_cut() == 1);
        co_await sink.close();
    }

    CO_TEST_CASE("a host that says that nobody listens is counted, and nothing stops") {
        udp_log_sink_options options;
        {
            const udp_socket server(test::loopback());
            options = to(server);
        }
        udp_log_sink sink(options);
        co_await sink.open();
        for (int i = 0; i < 4; ++i) {
            co_await write_text(sink, "lost\n");
        }
        CHECK(sink.refusals() >= 1);
        udp_socket server(
            endpoint("127.0.0.1", static_cast<std::uint16_t>(std::stoi(options.port))));
        co_await write_text(sink, "heard\n");
        const auto got = co_await take(server, 1);
        CHECK(got == strings{"heard"});
        co_await sink.close();
    }

    TEST_CASE("a name that is not found is an error of open's only where it must be") {
        sapwood::run([]() -> task<> { // on a real clock: the name is looked up by a thread
            const udp_log_sink_options options{.host = "127.0.0.1", .port = "no-such-service"};
            udp_log_sink sink(options);
            co_await sink.open();
            const auto [code, text] =
                co_await test::failure_of([&] { return write_text(sink, "line\n"); });
            CHECK(code == resolve_errc::unknown_service);
            auto strict = options;
            strict.limits.must_connect = true;
            udp_log_sink other(strict);
            const auto [strict_code, strict_text] =
                co_await test::failure_of([&] { return other.open(); });
            CHECK(strict_code == resolve_errc::unknown_service);
        });
    }

    TEST_CASE("a host whose first address refuses is logged to at its next one") {
        sapwood::run([]() -> task<> { // on a real clock: the name is looked up by a thread
            endpoint nobody;
            {
                const udp_socket gone(test::loopback());
                nobody = gone.local_endpoint();
            }
            udp_socket server(test::loopback());
            udp_log_sink sink(to_host({nobody, server.local_endpoint()}));
            co_await sink.open();
            for (int i = 0; sink.refusals() == 0; ++i) {
                REQUIRE(i < 1000); // the first of them is lost, as the count says
                co_await write_text(sink, "lost\n");
            }
            co_await write_text(sink, "heard\n");
            strings got = co_await take(server, 1);
            while (got.back() != "heard") {
                got = co_await take(server, 1);
            }
            CHECK(sink.refusals() == 1);
            co_await sink.close();
        });
    }

    TEST_CASE("an address to which there is no way is passed over") {
        sapwood::run([]() -> task<> {
            udp_socket server(test::loopback());
            const endpoint refused("255.255.255.255", 514); // needs SO_BROADCAST
            udp_log_sink sink(to_host({refused, server.local_endpoint()}));
            co_await sink.open();
            co_await write_text(sink, "one\n");
            CHECK((co_await take(server, 1)).front() == "one");
            co_await sink.close();

            udp_log_sink nowhere(to_host({refused}));
            const auto [code, text] =
                co_await test::failure_of([&] { return write_text(nowhere, "line\n"); });
            CHECK(code == std::errc::permission_denied);
            CHECK(text.find("udp:log.example:514 cannot be reached") != std::string::npos);
        });
    }

    TEST_CASE("a host that moves is followed, and what is known is used until then") {
        sapwood::run([]() -> task<> {
            udp_socket first(test::loopback());
            udp_socket second(test::loopback());
            auto options = to_host({});
            std::atomic<int> lookups{0};
            options.look_up_every = std::chrono::milliseconds(1);
            options.names = std::make_shared<resolver>(2, [&](const name_query&) {
                switch (++lookups) {
                case 1:
                    return std::vector{first.local_endpoint()};
                case 2:
                    throw std::system_error(make_error_code(resolve_errc::try_again));
                default:
                    return std::vector{second.local_endpoint()};
                }
            });
            udp_log_sink sink(options);
            co_await sink.open();
            bool has_moved = false;
            std::string one(64, '\0');
            for (int sent = 0; !has_moved; ++sent) {
                REQUIRE(sent < 1'000'000);
                co_await write_text(sink, "line\n");
                has_moved = ::recv(second.fd(), one.data(), one.size(), MSG_DONTWAIT) > 0;
                if (!has_moved) { // each line is with one of them
                    REQUIRE(::recv(first.fd(), one.data(), one.size(), MSG_DONTWAIT) > 0);
                }
            }
            CHECK(lookups >= 3);
            co_await sink.close();
            options.names.reset();
        });
    }

    TEST_CASE("a limit that leaves no room is named") {
        CHECK_THROWS_WITH_AS(udp_log_sink({.host = "h", .port = "1", .limits = {.bytes_max = 5}}),
                             doctest::Contains("bytes_max"), std::invalid_argument);
    }

    TEST_CASE("a logger writes JSON over UDP") {
        const udp_socket server(test::loopback());
        {
            logger_options options;
            options.outputs.push_back({.sink = std::make_unique<udp_log_sink>(to(server)),
                                       .form = std::make_unique<json_layout>()});
            const logger log(std::move(options));
            log.info("hello", kv("n", 1));
        }
        char text[512] = {};
        REQUIRE(::recv(server.fd(), text, sizeof(text) - 1, 0) > 0);
        CHECK(std::string_view(text).ends_with("\"message\":\"hello\",\"fields\":{\"n\":1}}"));
    }

    CO_TEST_CASE("without memory a write fails, and every record arrives once all the same") {
        udp_socket server(test::loopback());
        udp_log_sink sink(to(server));
        co_await sink.open();
        co_await write_text(sink, "first\n");
        CHECK((co_await take(server, 1)).front() == "first");
        std::size_t failures = 0;
        for (std::size_t nth = 1; nth <= 4; ++nth) {
            const std::string text =
                std::string(2'000 * nth, 'x') + "\n" + std::to_string(nth) + "\n";
            bool is_done = false;
            try {
                const test::failing_allocations failing(nth);
                co_await write_text(sink, text);
                is_done = true;
            } catch (const std::bad_alloc&) {
                ++failures;
            }
            if (!is_done) {
                co_await write_text(sink, text);
            }
            const auto got = co_await take(server, 2);
            CHECK(got[0].ends_with("x\\(cut)"));
            CHECK(got[1] == std::to_string(nth));
        }
        CHECK(failures > 0);
        co_await sink.close();
    }
}

// A collector by HTTP while somebody asks much of it: bodies that take long, heads that never end,
// shares that are used up. Others are served as ever.
#include "collector/served.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/compressed.hpp"

#include <sapwood/owned_fd.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using sapwood::endpoint;
using sapwood::task;
using sapwood::tcp_stream;
using sapwood::unix_stream;
using sapwood::collector::collector_options;
using sapwood::collector::peer_id;
using sapwood::test::count_of;
using sapwood::test::gzipped;
using sapwood::test::has;
using sapwood::test::served;
using sapwood::test::status_of;

/// What one answer has, with a connection that stays.
task<std::string> read_answer(tcp_stream& from) {
    std::string text;
    std::string piece(4096, ' ');
    while (!has(text, "\r\n\r\n")) {
        const auto got = co_await from.read_some(piece);
        if (got == 0) {
            break;
        }
        text.append(piece, 0, got);
    }
    co_return text;
}

/// What is answered first to a client at another address of this machine.
task<std::string> answer_to(std::string_view address, endpoint to, std::string request) {
    const sapwood::owned_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const endpoint from(address, 0);
    REQUIRE(::bind(client.fd(), from.data(), from.size()) == 0);
    REQUIRE(::connect(client.fd(), to.data(), to.size()) == 0);
    REQUIRE(::send(client.fd(), request.data(), request.size(), MSG_NOSIGNAL) > 0);
    std::string piece(4096, ' ');
    for (;;) {
        const auto got = ::recv(client.fd(), piece.data(), piece.size(), MSG_DONTWAIT);
        if (got >= 0) {
            co_return piece.substr(0, static_cast<std::size_t>(got));
        }
        co_await sapwood::yield();
    }
}

/// Time is virtual, and goes on while the loop waits for a thread.
collector_options patient() {
    collector_options options;
    options.limits.body = 10'000h;
    options.limits.acknowledgement = 10'000h;
    return options;
}

/// CPU of this thread: what others on the machine do does not count.
std::chrono::nanoseconds worked() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

struct long_request {
    const char* what;
    std::string bytes;
};

/// All but one held the loop for more than 100 ms when they were decoded there; that one has 2 ms
/// of giving its records to the log.
std::vector<long_request> long_requests() {
    const std::string gzip = "Content-Encoding: gzip\r\n";
    std::vector<long_request> all;
    std::string controls;
    for (int i = 0; i < 200; ++i) {
        controls += std::string(10'000, '\x01') + '\n';
    }
    if (const auto body = gzipped(controls)) {
        all.push_back({"control characters out of little",
                       served::post_of(*body, "/services/collector/raw", gzip)});
    }
    if (const auto body = gzipped(std::string(15'000'000, ' ') + "{}")) {
        all.push_back({"blanks out of little", served::post_of(*body, "/log", gzip)});
    }
    std::string many;
    for (int i = 0; i < 50'000; ++i) {
        many += "{\"a\":1}\n";
    }
    all.push_back({"many records", served::post_of(many)});
    std::string empty = "[{}";
    while (empty.size() + 4 < sapwood::collector::intake::long_body_bytes) {
        empty += ",{}";
    }
    all.push_back({"very many records in a short body", served::post_of(empty + ']')});
    std::string labels =
        R"({"streams":[{"stream":{"a":")" + std::string(30'000, 'x') + R"("},"values":[["1","b"])";
    for (int i = 0; i < 500; ++i) {
        labels += R"(,["1","b"])";
    }
    all.push_back(
        {"labels in each of many records", served::post_of(labels + "]}]}", "/loki/api/v1/push")});
    return all;
}

} // namespace

TEST_SUITE("http_load") {
    CO_TEST_CASE("bodies that take long hold nobody up: the loop works on each for moments only") {
        for (const long_request& each : long_requests()) {
            CAPTURE(std::string(each.what));
            const sapwood::test::temporary_directory directory;
            collector_options options = patient();
            auto& log = options.logs.emplace_back();
            log.name = "app";
            log.path = directory / "app.log";
            log.queue_records = 1u << 17; // none of them has to wait for room
            served at(options);
            co_await at.begin();
            auto client = co_await tcp_stream::connect(at.it->endpoints().front());
            auto sending =
                sapwood::spawn([](tcp_stream& to, const std::string& what) -> task<std::string> {
                    co_await to.write_all(std::string_view(what));
                    co_return co_await read_answer(to);
                }(client, each.bytes));
            std::chrono::nanoseconds longest{};
            std::uint64_t most = 0;
            const auto& records = at.it->shared().counts.records;
            while (!sending.done()) { // between any two of the loop's turns
                const auto before = worked();
                const auto given = records;
                co_await sapwood::yield();
                most = std::max(most, records - given);
                longest = std::max(longest, worked() - before);
            }
            CHECK(longest < 25ms);
            CHECK(most <= 8192);
            CHECK(status_of(co_await sending) / 100 == 2);
            co_await client.close();
            co_await at.end();
        }
    }

    CO_TEST_CASE("while one long body is decoded others wait in line, and short ones pass by") {
        served at(patient());
        co_await at.begin();
        const std::string request =
            served::post_of("{\"large\":\"" + std::string(300'000, 'x') + "\"}");
        std::vector<tcp_stream> clients;
        {
            const auto turn = co_await at.it->shared().long_body_turn.lock();
            for (int i = 0; i < 3; ++i) {
                clients.push_back(co_await tcp_stream::connect(at.it->endpoints().front()));
                co_await clients.back().write_all(std::string_view(request));
            }
            while (at.it->shared().counts.requests < 3) {
                co_await sapwood::yield();
            }
            CHECK(status_of(co_await at.post("{\"small\":true}")) == 200);
            CHECK(at.it->shared().counts.records == 1);
            CHECK(at.it->shared().counts.held_bytes > 3 * 300'000);
        }
        for (tcp_stream& each : clients) {
            CHECK(status_of(co_await read_answer(each)) == 200);
            co_await each.close();
        }
        co_await at.end();
        CHECK(at.it->shared().counts.held_bytes == 0);
        CHECK(at.records().size() == 4);
    }

    CO_TEST_CASE(
        "who waits in line for too long is told to come again, and nothing of it is kept") {
        served at;
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const auto turn = co_await at.it->shared().long_body_turn.lock();
        const std::string request =
            served::post_of("{\"large\":\"" + std::string(300'000, 'x') + "\"}");
        co_await client.write_all(std::string_view(request));
        const std::string answer = co_await sapwood::test::read_to_end(client);
        CHECK(status_of(answer) == 503);
        CHECK(has(answer, "too many long requests are under way"));
        co_await at.end();
        CHECK(at.records().empty());
    }

    CO_TEST_CASE("answers keep the order of requests, of which one takes long") {
        served at(patient());
        co_await at.begin();
        const std::string long_one =
            "[{\"n\":2},{\"large\":\"" + std::string(200'000, 'x') + "\"}]";
        const std::string answers =
            co_await at.exchange(served::post_of("{\"n\":1}") + served::post_of(long_one) +
                                 served::post_of("nonsense") + served::post_of("{\"n\":3}"));
        CHECK(count_of(answers, "HTTP/1.1 200 ") == 3);
        CHECK(answers.find("HTTP/1.1 400 ") > answers.find("HTTP/1.1 200 ", 20));
        CHECK(answers.rfind("HTTP/1.1 200 ") > answers.find("HTTP/1.1 400 "));
        co_await at.end();
        const auto kept = at.records();
        REQUIRE(kept.size() == 4);
        CHECK(kept.front() == "{\"n\":1}");
        CHECK(kept.at(1) == "{\"n\":2}");
        CHECK(kept.back() == "{\"n\":3}");
    }

    CO_TEST_CASE("behind a long body that is refused a head that never ends has its deadline") {
        served at;
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string request = served::post_of(std::string(100'000, 'x')) + "POST /lo";
        co_await client.write_all(std::string_view(request));
        const std::string answers = co_await sapwood::test::read_to_end(client);
        CHECK(status_of(answers) == 400);
        CHECK(has(answers, "HTTP/1.1 408 "));
        co_await at.end();
    }

    CO_TEST_CASE("a long body's records wait for room in their log, and all of them come") {
        collector_options options = patient();
        const sapwood::test::temporary_directory directory;
        auto& log = options.logs.emplace_back();
        log.name = "app";
        log.path = directory / "app.log";
        log.queue_records = 4;
        log.batch_bytes = 256u << 10;
        served at(options);
        co_await at.begin();
        std::string body;
        for (int i = 0; i < 1000; ++i) {
            body += "{\"n\":\"" + std::string(1000, '.') + "\"}\n";
        }
        CHECK(status_of(co_await at.post(body)) == 200);
        co_await at.end();
        const std::string kept = sapwood::test::contents_of(directory / "app.log");
        CHECK(count_of(kept, "\n") == 1000);
    }

    CO_TEST_CASE("heads that never end make room for others when they have had a second") {
        collector_options options;
        options.limits.connections_max = 2;
        served at(options);
        co_await at.begin();
        std::vector<tcp_stream> slow;
        for (int i = 0; i < 2; ++i) {
            slow.push_back(co_await tcp_stream::connect(at.it->endpoints().front()));
            co_await slow.back().write_all("P"sv);
        }
        co_await sapwood::sleep_for(500ms);
        const auto before = at.it->shared().now;
        CHECK(status_of(co_await at.post("{}")) == 200);
        CHECK(at.it->shared().now - before < 3s);
        CHECK(at.it->shared().gate.idle_closed > 0);
        co_await at.end();
    }

    CO_TEST_CASE("bodies that never end make room for others, and those that come do not") {
        collector_options options;
        options.limits.connections_max = 2;
        served at(options);
        co_await at.begin();
        const endpoint to = at.it->endpoints().front();
        const auto head = [](std::size_t bytes) {
            return fmt::format(
                "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", bytes);
        };
        auto slow = co_await tcp_stream::connect(to);
        co_await slow.write_all(std::string_view(head(1000) + "{"));
        const std::string body = R"({"a":")" + std::string(200'000, 'x') + "\"}";
        auto alive = co_await tcp_stream::connect(to);
        co_await alive.write_all(std::string_view(head(body.size())));
        for (std::size_t i = 0; i < 6; ++i) {
            co_await alive.write_all(std::string_view(body).substr(i * 20'000, 20'000));
            co_await sapwood::sleep_for(1s);
        }
        const auto before = at.it->shared().now;
        CHECK(status_of(co_await at.post("{}")) == 200);
        CHECK(at.it->shared().now - before < 3s);
        CHECK(at.it->shared().gate.idle_closed == 1);
        co_await alive.write_all(std::string_view(body).substr(120'000));
        CHECK(status_of(co_await read_answer(alive)) == 200);
        co_await at.end();
        CHECK(at.records().size() == 2);
    }

    CO_TEST_CASE("who does not take what he has asked for makes room for others") {
        collector_options options;
        options.limits.connections_max = 1;
        served at(options);
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        auto asking = sapwood::spawn([](tcp_stream& to) -> task<> {
            const std::string request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            for (;;) { // until it is cut off
                co_await to.write_all(std::string_view(request));
            }
        }(client));
        co_await sapwood::sleep_for(500ms);
        const auto before = at.it->shared().now;
        CHECK(status_of(co_await at.post("{}")) == 200);
        CHECK(at.it->shared().now - before < 3s);
        CHECK(at.it->shared().gate.idle_closed == 1);
        std::error_code how;
        try {
            co_await asking;
        } catch (const std::system_error& failure) {
            how = failure.code();
        }
        CHECK(how); // it was reset
        co_await at.end();
    }

    CO_TEST_CASE("an address and a user have their share of connections, and no more") {
        const sapwood::test::temporary_directory sockets;
        collector_options options = patient();
        options.limits.idle = 10'000h;
        options.limits.connections_per_peer = 2;
        options.listeners.resize(2);
        options.listeners[0].at = sapwood::test::loopback();
        options.listeners[1].at = endpoint::unix_path(sockets / "http");
        served at(options);
        co_await at.begin();
        const auto& gate = at.it->shared().gate;
        std::vector<tcp_stream> first;
        for (int i = 0; i < 2; ++i) {
            first.push_back(co_await tcp_stream::connect(at.it->endpoints().front()));
            co_await first.back().write_all(std::string_view(served::post_of("{}")));
            CHECK(status_of(co_await read_answer(first.back())) == 200);
        }
        auto third = co_await tcp_stream::connect(at.it->endpoints().front());
        const std::string refused = co_await sapwood::test::read_to_end(third);
        CHECK(status_of(refused) == 429);
        CHECK(has(refused, "Retry-After: 1\r\n"));
        CHECK(gate.over_share == 1);
        // Another address has its own, and so have users of Unix sockets.
        CHECK(status_of(co_await answer_to("127.0.0.2", at.it->endpoints().front(),
                                           served::post_of("{}"))) == 200);
        std::vector<unix_stream> users;
        for (int i = 0; i < 3; ++i) {
            users.push_back(co_await unix_stream::connect(at.it->endpoints().back()));
        }
        CHECK(status_of(co_await sapwood::test::read_to_end(users.back())) == 429);
        CHECK(gate.over_share == 2);
        // Who ends one may have another.
        const auto closed = at.it->shared().counts.connections_closed;
        co_await first.front().close();
        while (at.it->shared().counts.connections_closed == closed) {
            co_await sapwood::yield();
        }
        CHECK(status_of(co_await at.post("{}")) == 200);
        co_await at.end();
    }

    TEST_CASE("a network of IPv6 is one peer, and an IPv4 address that is written so is itself") {
        const auto id = [](std::string_view address) { return peer_id::at(endpoint(address, 1)); };
        CHECK(id("2001:db8::1") == id("2001:db8::ffff:1"));
        CHECK(id("2001:db8::1") != id("2001:db8:0:1::1"));
        CHECK(id("::ffff:10.0.0.1") == id("10.0.0.1"));
        CHECK(id("10.0.0.1") != id("10.0.0.2"));
        CHECK(id("10.0.0.1") != peer_id::of_user(0));
    }

    CO_TEST_CASE("without memory for a connection that one ends, and others are taken") {
        served at;
        co_await at.begin();
        CHECK(status_of(co_await at.post("{}")) == 200); // it has begun
        const auto to = at.it->endpoints().front();
        for (std::size_t nth = 1; nth <= 12; ++nth) {
            CAPTURE(nth);
            const sapwood::owned_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            REQUIRE(::connect(client.fd(), to.data(), to.size()) == 0);
            const sapwood::test::failing_allocations little(nth);
            for (int turn = 0; turn < 20; ++turn) {
                co_await sapwood::yield();
            }
        }
        CHECK(status_of(co_await at.post("{}")) == 200);
        co_await at.end();
    }

    CO_TEST_CASE("a method that a path does not have is told which ones it has") {
        served at;
        co_await at.begin();
        const auto allowed = [&at](std::string request) -> task<std::string> {
            const std::string answer =
                co_await at.exchange(request + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
            CHECK(status_of(answer) == 405);
            const auto begin = answer.find("Allow: ");
            co_return answer.substr(begin, answer.find("\r\n", begin) - begin);
        };
        CHECK(co_await allowed("DELETE /healthz") == "Allow: GET, HEAD");
        CHECK(co_await allowed("POST /metrics") == "Allow: GET, HEAD");
        CHECK(co_await allowed("DELETE /log") == "Allow: GET, POST");
        CHECK(co_await allowed("PUT /log") == "Allow: GET, POST");
        CHECK(co_await allowed("GET /loki/api/v1/push") == "Allow: POST, PUT");
        co_await at.end();
    }

    CO_TEST_CASE("Retry-After is of the request that is answered, not of one before") {
        collector_options options;
        options.tokens.resize(1);
        options.tokens.front().name = "a";
        options.tokens.front().secret = "secret-of-a-1234";
        options.tokens.front().records_per_second = 1;
        options.tokens.front().records_at_once = 1;
        served at(options);
        co_await at.begin();
        const std::string token = "Authorization: Bearer secret-of-a-1234\r\n";
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await client.write_all(std::string_view(served::post_of("{}", "/log", token)));
        CHECK(status_of(co_await read_answer(client)) == 200);
        std::string many = "[{}";
        for (int i = 0; i < 60; ++i) {
            many += ",{}";
        }
        co_await client.write_all(std::string_view(served::post_of(many + "]", "/log", token)));
        const std::string refused = co_await read_answer(client);
        CHECK(status_of(refused) == 429);
        CHECK(!has(refused, "Retry-After: 1\r\n"));
        at.it->shared().is_draining = true; // as if it was about to end
        co_await client.write_all("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"sv);
        const std::string ready = co_await read_answer(client);
        CHECK(status_of(ready) == 503);
        CHECK(has(ready, "Retry-After: 1\r\n"));
        at.it->shared().is_draining = false;
        co_await client.close();
        co_await at.end();
    }
}

// TLS over a pair of sockets, and over a collector's listeners, with a client of the same library.
#include "served.hpp"
#include "support/certificates.hpp"

#include <runtime/receive_buffers.hpp>
#include <tls/tls_stream.hpp>

#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>

namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using namespace std::chrono_literals;
using namespace sapwood;
using namespace sapwood::test;
using sapwood::tls_client_options;
using sapwood::tls_context;
using sapwood::tls_errc;
using sapwood::tls_options;
using sapwood::tls_stream;
using sapwood::tls_use;
using context = std::shared_ptr<const tls_context>;

std::unique_ptr<tls_stream> secured(tcp_stream socket, context with, tls_use use = tls_use::http) {
    return std::make_unique<tls_stream>(std::make_unique<tcp_stream>(std::move(socket)),
                                        std::move(with), use);
}

tls_options server_options(const authority::pair& own) {
    tls_options made;
    made.certificate = own.certificate;
    made.key = own.key;
    return made;
}

// gcc 12: aggregates with a destructor are not made in a co_await expression.

context serves_with(const tls_options& options) {
    return std::make_shared<const tls_context>(options);
}

/// One that believes what this authority has signed.
context believes(const authority& in, const std::string& server = "") {
    tls_client_options options;
    options.ca = in.path;
    options.server = server;
    return std::make_shared<const tls_context>(options);
}

/// The same, with a certificate of its own.
context shows(const authority& in, const authority::pair& own) {
    tls_client_options options;
    options.ca = in.path;
    options.certificate = own.certificate;
    options.key = own.key;
    return std::make_shared<const tls_context>(options);
}

/// A client and a server that have shaken hands, unless one of them has failed.
struct tls_pair {
    std::unique_ptr<tls_stream> client;
    std::unique_ptr<tls_stream> server;
    std::error_code client_failure;
    std::error_code server_failure;
};

task<std::error_code> shake(tls_stream& with) {
    std::error_code how;
    try {
        co_await with.handshake();
    } catch (const std::system_error& failure) {
        how = failure.code();
    }
    co_return how;
}

task<tls_pair> shaken(context server, context client) {
    tcp_pair sockets = co_await connected();
    tls_pair pair;
    pair.client = secured(std::move(sockets.client), std::move(client));
    pair.server = secured(std::move(sockets.server), std::move(server));
    auto other = spawn(shake(*pair.client));
    pair.server_failure = co_await shake(*pair.server);
    if (pair.server_failure) {
        co_await pair.server->close();
    }
    pair.client_failure = co_await other;
    co_return pair;
}

/// Everything until the peer says that it ends, or how that fails.
task<std::string> read_all(tls_stream& from, std::error_code& failure) {
    std::string text;
    try {
        for (;;) {
            const received piece = co_await from.receive();
            if (!piece) {
                break;
            }
            text += piece.text();
        }
    } catch (const std::system_error& why) {
        failure = why.code();
    }
    co_return text;
}

task<> write_and_end(tls_stream& to, std::string text) {
    co_await to.write_all(text);
    co_await to.shutdown_write();
}

std::string long_text(std::size_t bytes) {
    std::string text(bytes, ' ');
    for (std::size_t i = 0; i < bytes; ++i) {
        text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
    }
    return text;
}

/// A collector with TLS.
collector::collector_options with_tls(const tls_options& tls) {
    collector::collector_options options;
    options.tls = tls;
    options.listeners.emplace_back().at = loopback();
    return options;
}

task<std::unique_ptr<tls_stream>> connect_to(endpoint at, context with,
                                             tls_use use = tls_use::http) {
    auto socket = co_await tcp_stream::connect(at);
    auto made = secured(std::move(socket), std::move(with), use);
    co_await made->handshake();
    co_return made;
}

/// What a collector with TLS answers.
task<std::string> exchange(endpoint at, context with, std::string request) {
    auto client = co_await connect_to(at, std::move(with));
    co_await write_and_end(*client, std::move(request));
    std::error_code failure;
    std::string answer = co_await read_all(*client, failure);
    CHECK(failure == std::error_code()); // it has said that it ends
    co_await client->close();
    co_return answer;
}

} // namespace

TEST_SUITE("tls_stream") {
    TEST_CASE("what is written on one side comes on the other, however long it is") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(ca, "localhost"));
            REQUIRE(!pair.server_failure);
            REQUIRE(!pair.client_failure);
            CHECK(pair.server->version() == "TLSv1.3");
            const std::string there = long_text(300'000);
            const std::string back = long_text(500'001);
            std::error_code at_server;
            std::error_code at_client;
            auto [a, b, seen_by_server, seen_by_client] = co_await when_all(
                write_and_end(*pair.client, there), write_and_end(*pair.server, back),
                read_all(*pair.server, at_server), read_all(*pair.client, at_client));
            CHECK(seen_by_server == there);
            CHECK(seen_by_client == back);
            CHECK(!at_server);
            CHECK(!at_client);
            co_await pair.client->close();
            co_await pair.server->close();
        });
    }

    TEST_CASE("who writes in time, again and again, and never reads is not kept waiting") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(ca, "localhost"));
            REQUIRE(!pair.server_failure);
            std::error_code failure;
            auto reading = spawn(read_all(*pair.server, failure));
            const auto write = [](tls_stream& to, std::string text) -> task<> {
                co_await to.write_all(std::span<const char>(text));
            };
            std::size_t sent = 0;
            for (std::size_t bytes = 1000; bytes < 100'000; bytes += 7000) {
                co_await timeout(10s, write(*pair.client, long_text(bytes)));
                sent += bytes;
            }
            co_await timeout(10s, pair.client->shutdown_write());
            CHECK((co_await reading).size() == sent);
            CHECK(!failure);
            co_await pair.client->close();
            co_await pair.server->close();
        });
    }

    TEST_CASE("an end that was not announced is no end: it may have been cut off") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(ca));
            std::uint64_t truncations = 0;
            pair.server->count_truncations(truncations);
            co_await pair.client->write_all("half of it"s);
            co_await pair.client->beneath().shutdown_write(); // TLS is told nothing
            std::error_code failure;
            CHECK(co_await read_all(*pair.server, failure) == "half of it");
            CHECK(failure == tls_errc::truncated);
            CHECK(truncations == 1);
            co_await pair.client->close();
            co_await pair.server->close();
        });
    }

    TEST_CASE("what was changed on its way is refused") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(ca));
            co_await pair.client->write_all("good"s);
            std::string forged = "\x17\x03\x03\x00\x20"s + std::string(32, 'x');
            co_await pair.client->beneath().write_all(std::string_view(forged));
            std::error_code failure;
            CHECK(co_await read_all(*pair.server, failure) == "good");
            CHECK(failure == tls_errc::broken);
            co_await pair.client->close();
            co_await pair.server->close();
        });
    }

    TEST_CASE("a receive that was cancelled has taken nothing") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(ca));
            const auto early = co_await as_result(timeout(1ms, pair.server->receive()));
            CHECK(early.error() == std::errc::timed_out);
            co_await write_and_end(*pair.client, "all of it");
            std::error_code failure;
            CHECK(co_await read_all(*pair.server, failure) == "all of it");
            CHECK(!failure);
            co_await pair.client->close();
            co_await pair.server->close();
        });
    }

    TEST_CASE("a write that was cancelled can be gone on from: what was left goes first") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(ca));
            shrink_send_buffer(pair.server->beneath());
            const std::string text = long_text(3'000'000);
            const auto stopped = co_await as_result(timeout(5ms, pair.server->write_all(text)));
            REQUIRE(stopped.error() == std::errc::timed_out); // nobody reads
            std::error_code failure;
            auto reading = spawn(read_all(*pair.client, failure));
            co_await write_and_end(*pair.server, "the end");
            const std::string seen = co_await reading;
            CHECK(!failure);
            REQUIRE(seen.ends_with("the end"));
            CHECK(text.starts_with(seen.substr(0, seen.size() - 7)));
            co_await pair.client->close();
            co_await pair.server->close();
        });
    }

    TEST_CASE("a handshake fails for a reason that has a name, on both sides") {
        authority ca("a test's authority");
        authority other("somebody else");
        const authority::pair own = ca.issue("server");
        const authority::pair old = ca.issue("old", {.begins = -7200, .ends = -60});
        const context server = serves_with(server_options(own));
        const context expired = serves_with(server_options(old));
        tls_options options = server_options(own);
        options.client_ca = ca.path;
        const context asking = serves_with(options);
        const context stranger = shows(ca, other.issue("client"));
        const context late = shows(ca, old);
        run([&]() -> task<> {
            auto pair = co_await shaken(server, believes(other));
            CHECK(pair.client_failure == tls_errc::bad_certificate);
            CHECK(pair.server_failure == tls_errc::refused);
            pair = co_await shaken(expired, believes(ca));
            CHECK(pair.client_failure == tls_errc::bad_certificate);
            CHECK(pair.server_failure == tls_errc::refused);
            pair = co_await shaken(server, believes(ca, "example.org"));
            CHECK(pair.client_failure == tls_errc::bad_certificate);
            CHECK(pair.server_failure == tls_errc::refused);
            // Of TLS 1.3, where a client is done before it is told.
            pair = co_await shaken(asking, believes(ca));
            CHECK(pair.server_failure == tls_errc::no_certificate);
            pair = co_await shaken(asking, stranger);
            CHECK(pair.server_failure == tls_errc::bad_certificate);
            pair = co_await shaken(asking, late);
            CHECK(pair.server_failure == tls_errc::bad_certificate);
        });
    }

    TEST_CASE(
        "a message that is announced as too long is refused before it comes, however its bytes "
        "are cut") {
        authority ca("a test's authority");
        const context server = serves_with(server_options(ca.issue("server")));
        // What a server says of `bytes`, which come in pieces of so many, and whose sender waits.
        const auto said_of = [&](std::string_view bytes, std::size_t piece) -> task<std::string> {
            tcp_pair sockets = co_await connected();
            auto secure = secured(std::move(sockets.server), server);
            auto failing = spawn(failure_of([&]() -> task<int> {
                co_await secure->handshake();
                co_return 0;
            }));
            while (!bytes.empty()) {
                const std::string_view some = bytes.substr(0, piece);
                co_await sockets.client.write_all(some);
                co_await settle();
                bytes.remove_prefix(some.size());
            }
            co_await sockets.client.shutdown_write();
            const auto failure = co_await failing;
            co_await secure->close();
            co_return failure.first == tls_errc::broken ? failure.second : "";
        };
        run([&]() -> task<> {
            constexpr std::string_view too_long = "is too long";
            // A record of 6 bytes, in which a hello of 16,385 begins.
            static constexpr std::size_t pieces[] = {1, 4, 64};
            for (const std::size_t piece : pieces) {
                CHECK(has(co_await said_of("\x16\x03\x01\x00\x06\x01\x00\x40\x01"sv, piece),
                          too_long));
            }
            // Its length is in several records, and one is empty.
            CHECK(has(co_await said_of("\x16\x03\x01\x00\x02\x01\x02\x16\x03\x01\x00\x00"
                                       "\x16\x03\x01\x00\x02\x00\x00"sv,
                                       64),
                      too_long));
            // It is the second one, behind a change of ciphers, as TLS 1.3 has it.
            CHECK(has(co_await said_of("\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"
                                       "\x14\x03\x03\x00\x01\x01"
                                       "\x16\x03\x03\x00\x04\x01\x01\x00\x00"sv,
                                       64),
                      too_long));
            // Certificates are OpenSSL's to bound, plain as they are in TLS 1.2; here nobody asked.
            const std::string unasked =
                co_await said_of("\x16\x03\x01\x00\x05\x0b\x00\x50\x00\x00"sv, 64);
            CHECK_FALSE(unasked.empty());
            CHECK_FALSE(has(unasked, too_long));
            // As long as one may be: it is waited for.
            CHECK(co_await said_of("\x16\x03\x01\x00\x06\x01\x00\x40\x00\x03\x03"sv, 64) == "");
        });
    }

    TEST_CASE("a client's certificates are only so long") {
        authority ca("a test's authority");
        tls_options options = server_options(ca.issue("server"));
        options.client_ca = ca.path;
        const context asking = serves_with(options);
        const auto named = [&](unsigned count) {
            std::string names = "DNS:shop";
            for (unsigned i = 0; i < count; ++i) {
                names += fmt::format(",DNS:{}{}", std::string(200, 'x'), i);
            }
            return shows(ca, ca.issue("shop", {.names = names}));
        };
        const context usual = named(20);
        const context too_long = named(200);
        run([&]() -> task<> {
            auto pair = co_await shaken(asking, usual);
            CHECK(!pair.server_failure);
            co_await pair.client->close();
            co_await pair.server->close();
            pair = co_await shaken(asking, too_long);
            CHECK(pair.server_failure == tls_errc::broken);
        });
    }

    TEST_CASE(
        "whose certificate it is, is told: its alternative name, or its subject, unforgeable") {
        authority ca("a test's authority");
        tls_options options = server_options(ca.issue("server"));
        options.client_ca = ca.path;
        options.client_is_optional = true;
        const context asking = serves_with(options);
        const auto name_of = [&](context client) {
            std::string name;
            run([&]() -> task<> {
                auto pair = co_await shaken(asking, client);
                CHECK(!pair.server_failure);
                name = pair.server->peer_name();
                co_await pair.client->close();
                co_await pair.server->close();
            });
            return name;
        };
        const auto named = [&](const std::string& subject, const std::string& names) {
            return name_of(shows(ca, ca.issue(subject, {.names = names})));
        };
        CHECK(named("shop", "IP:10.0.0.1,DNS:shop.example") == "shop.example");
        CHECK(named("shop", "") == "CN=shop");
        CHECK(named("a] forged\n100%", "") == "CN=a%5D%20forged%5C0A100%25");
        CHECK(name_of(believes(ca)) == "");
    }

    TEST_CASE("a certificate that cannot be used is told with its file and the reason") {
        authority ca("a test's authority");
        const authority::pair own = ca.issue("server");
        const authority::pair other = ca.issue("other");
        const auto said = [](const tls_options& options) {
            try {
                const tls_context made(options);
            } catch (const std::runtime_error& wrong) {
                return std::string(wrong.what());
            }
            return "nothing"s;
        };
        CHECK(said(server_options(own)) == "nothing");
        CHECK(has(said(server_options({own.certificate + "x", own.key})), own.certificate + "x: "));
        CHECK(has(said(server_options({own.certificate, own.certificate})),
                  "cannot use the key " + own.certificate));
        CHECK(has(said(server_options({own.certificate, other.key})), "mismatch"));
        CHECK(has(said(server_options({own.certificate, ""})), "is missing"));
        tls_options asking = server_options(own);
        asking.client_ca = own.key;
        CHECK(has(said(asking), "to believe in " + own.key));
    }

    TEST_CASE("HTTP is served under TLS, and who has a certificate stands in the line") {
        authority ca("a test's authority");
        tls_options tls = server_options(ca.issue("server"));
        tls.client_ca = ca.path;
        const context client = shows(ca, ca.issue("shop", {.names = "DNS:shop.example"}));
        run([&]() -> task<> {
            served at(with_tls(tls));
            co_await at.begin();
            const endpoint place = at.it->endpoints().front();
            const std::string answer =
                co_await exchange(place, client, served::post_of(R"({"n":1})"));
            CHECK(test::status_of(answer) == 200);
            const std::string metrics = co_await exchange(
                place, client, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            CHECK(has(metrics, "sapwood_collector_tls_handshakes_total 2\n"));
            co_await at.end();
            REQUIRE(at.lines().size() == 1);
            CHECK(at.lines().front().ends_with(R"( cert=shop.example] {"n":1})"));
        });
    }

    TEST_CASE("under TLS a client may call it by whatever name the certificate has, and a page may "
              "not") {
        authority ca("a test's authority");
        const context client = believes(ca);
        run([&]() -> task<> {
            served at(with_tls(server_options(ca.issue("server"))));
            co_await at.begin();
            const endpoint place = at.it->endpoints().front();
            const auto asked = [](std::string_view fields) {
                return fmt::format("POST /log HTTP/1.1\r\nHost: logs.example:8514\r\n"
                                   "Content-Length: 2\r\n{}\r\n{{}}",
                                   fields);
            };
            CHECK(test::status_of(co_await exchange(place, client, asked(""))) == 200);
            CHECK(test::status_of(co_await exchange(
                      place, client, asked("Origin: https://logs.example:8514\r\n"))) == 403);
            CHECK(test::status_of(co_await exchange(
                      place, client, asked("Sec-Fetch-Site: cross-site\r\n"))) == 403);
            co_await at.end();
            CHECK(at.lines().size() == 1);
        });
    }

    TEST_CASE("a client that speaks HTTP without TLS is told so, and others are closed") {
        authority ca("a test's authority");
        run([&]() -> task<> {
            served at(with_tls(server_options(ca.issue("server"))));
            co_await at.begin();
            const std::string answer = co_await at.post("{}");
            CHECK(test::status_of(answer) == 400);
            CHECK(has(answer, "say https, not http"));
            CHECK(co_await at.exchange("<13>this is syslog, and no TLS at all\n") == "");
            co_await at.end();
            CHECK(at.lines().empty());
            const auto& gate = at.it->shared().gate;
            CHECK(gate.tls_failures[static_cast<std::size_t>(tls_errc::plain_http)] == 1);
            CHECK(gate.tls_failures[static_cast<std::size_t>(tls_errc::not_tls)] == 1);
        });
    }

    TEST_CASE("a handshake that stalls is cut off at its deadline, and nobody else waits") {
        authority ca("a test's authority");
        tls_options tls = server_options(ca.issue("server"));
        tls.handshake = 3s;
        run([&]() -> task<> {
            served at(with_tls(tls));
            co_await at.begin();
            const endpoint place = at.it->endpoints().front();
            auto stalled = co_await tcp_stream::connect(place);
            co_await stalled.write_all(std::string_view("\x16\x03\x01"));
            const context client = believes(ca);
            CHECK(test::status_of(co_await exchange(place, client, served::post_of("{}"))) == 200);
            CHECK(co_await read_to_end(stalled) == "");
            co_await at.end();
            CHECK(at.it->shared().gate.tls_failures[0] == 1);
            CHECK(at.it->shared().counts.connections_opened == 2);
            CHECK(at.it->shared().counts.connections_closed == 2);
            CHECK(at.it->cut_off() == 0);
        });
    }

    TEST_CASE("handshakes that stall keep nothing of the memory that all receive into") {
        authority ca("a test's authority");
        run([&]() -> task<> {
            if (event_loop::current().receive_buffers() == nullptr) {
                MESSAGE("skipped: the poll ring receives into memory of each stream's own");
                co_return;
            }
            served at(with_tls(server_options(ca.issue("server"))));
            co_await at.begin();
            std::vector<tcp_stream> stalled;
            for (unsigned i = 0; i < 32; ++i) {
                stalled.push_back(co_await tcp_stream::connect(at.it->endpoints().front()));
                co_await stalled.back().write_all(std::string_view("\x16\x03\x01"));
            }
            co_await test::settle();
            CHECK(at.it->shared().counts.connections_opened == stalled.size());
            CHECK(event_loop::current().receive_buffers()->lent() == 0);
            stalled.clear();
            co_await at.end();
        });
    }

    TEST_CASE("lines come under TLS") {
        authority ca("a test's authority");
        collector::collector_options options = with_tls(server_options(ca.issue("server")));
        options.listeners.front().kind = collector::source_kind::lines;
        run([&]() -> task<> {
            served at(options);
            co_await at.begin();
            const context client = believes(ca);
            auto writer = co_await connect_to(at.it->endpoints().front(), client, tls_use::one_way);
            std::string lines;
            for (int i = 0; i < 5000; ++i) {
                lines += fmt::format("line {}\n", i);
            }
            co_await writer->write_all(lines);
            co_await writer->close();
            while (at.it->shared().counts.connections_closed == 0) {
                co_await sleep_for(1ms);
            }
            co_await at.end();
            const auto records = at.records();
            REQUIRE(records.size() == 5000);
            CHECK(records.back() == "line 4999");
        });
    }

    TEST_CASE("told to end in the middle of handshakes, it ends them, however far they are") {
        authority ca("a test's authority");
        const tls_options tls = server_options(ca.issue("server"));
        const context client = believes(ca);
        constexpr unsigned clients = 4;
        std::uint64_t done = 0;
        for (int turns = 0; turns < 6; ++turns) {
            run([&]() -> task<> {
                served at(with_tls(tls));
                co_await at.begin();
                std::vector<std::unique_ptr<tls_stream>> peers;
                std::vector<join_handle<std::error_code>> shaking;
                for (unsigned i = 0; i < clients; ++i) {
                    auto socket = co_await tcp_stream::connect(at.it->endpoints().front());
                    peers.push_back(secured(std::move(socket), client));
                }
                for (const auto& each : peers) {
                    shaking.push_back(spawn(shake(*each)));
                }
                for (int i = 0; i < turns; ++i) {
                    co_await yield();
                }
                co_await at.end();
                const auto& counts = at.it->shared().counts;
                CHECK(counts.connections_opened == counts.connections_closed);
                done += at.it->shared().gate.tls_handshakes;
                at.it.reset(); // whom it had not let in yet are refused
                for (auto& each : shaking) {
                    (void)co_await each;
                }
                for (const auto& each : peers) {
                    co_await each->close();
                }
            });
        }
        CHECK(done > 0);
        CHECK(done < 6 * clients);
    }

    TEST_CASE("new settings cannot take away what guards a listener, for TLS that it has not") {
        authority ca("a test's authority");
        const tls_options tls = server_options(ca.issue("server"));
        run([&]() -> task<> {
            collector::collector_options options;
            options.listeners.emplace_back().at = endpoint("0.0.0.0", 0);
            collector::access_token& token = options.tokens.emplace_back();
            token.name = "ann";
            token.secret = "0123456789abcdef";
            served at(options);
            co_await at.begin();
            collector::collector_options fresh = options;
            fresh.tls = tls;
            CHECK_NOTHROW(at.it->reload(fresh));
            fresh.tokens.clear();
            CHECK_THROWS_AS(at.it->reload(fresh), std::invalid_argument);
            co_await at.end();
        });
    }

    TEST_CASE("new settings without TLS change how long a handshake may take, since TLS stays") {
        authority ca("a test's authority");
        tls_options tls = server_options(ca.issue("server"));
        tls.handshake = 1h;
        run([&]() -> task<> {
            served at(with_tls(tls));
            co_await at.begin();
            collector::collector_options fresh = with_tls({});
            fresh.tls.handshake = 1ms;
            REQUIRE(!fresh.tls.is_wanted());
            at.it->reload(fresh);
            REQUIRE(at.it->shared().tls_handshake == 1ms);
            auto stalled = co_await tcp_stream::connect(at.it->endpoints().front());
            CHECK(co_await read_to_end(stalled) == "");
            co_await at.end();
            CHECK(at.it->shared().gate.tls_failures[0] == 1);
        });
    }

    TEST_CASE("new certificates are for those who come; connections go on; a broken one changes "
              "nothing") {
        authority first("the first authority");
        authority second("the second authority");
        const authority::pair old = first.issue("server");
        const authority::pair fresh = second.issue("server");
        run([&]() -> task<> {
            served at(with_tls(server_options(old)));
            co_await at.begin();
            const endpoint place = at.it->endpoints().front();
            const context believes_first = believes(first);
            const context believes_second = believes(second);
            auto kept = co_await connect_to(place, believes_first);
            const auto post = [&]() -> task<bool> {
                co_await kept->write_all(served::post_of("{}"));
                const received answer = co_await kept->receive();
                co_return answer&& test::status_of(answer.text()) == 200;
            };
            CHECK(co_await post());
            auto broken = with_tls(server_options({old.certificate, fresh.key}));
            CHECK_THROWS_AS(at.it->reload(broken), std::runtime_error);
            CHECK(test::status_of(
                      co_await exchange(place, believes_first, served::post_of("{}"))) == 200);
            at.it->reload(with_tls(server_options(fresh)));
            CHECK(co_await post());
            CHECK(test::status_of(
                      co_await exchange(place, believes_second, served::post_of("{}"))) == 200);
            std::error_code refused;
            try {
                auto late = co_await connect_to(place, believes_first);
            } catch (const std::system_error& failure) {
                refused = failure.code();
            }
            CHECK(refused == tls_errc::bad_certificate);
            CHECK(co_await post());
            co_await kept->close();
            co_await at.end();
            CHECK(at.lines().size() == 5);
        });
    }
}

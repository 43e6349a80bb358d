// amqps:// with a broker in the test's own loop: who is believed, who believes us, and what is said
// where that fails. By the real clock: files are read on threads.
#include "fake_broker.hpp"
#include "support/certificates.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/run.hpp>

#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::amqp::address;
using sapwood::amqp::connect;
using sapwood::amqp::connection_options;
using sapwood::amqp::errc;
using sapwood::test::authority;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::until;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

/// A broker that has this certificate, and asks for one where `client_ca` is given.
std::shared_ptr<const sapwood::tls_context> serves_with(const authority::pair& own,
                                                        const std::string& client_ca = {}) {
    sapwood::tls_options options;
    options.certificate = own.certificate;
    options.key = own.key;
    options.client_ca = client_ca;
    return std::make_shared<const sapwood::tls_context>(options);
}

/// How one is connected to who believes this authority.
connection_options securely(const fake_broker& to, const authority& believed) {
    connection_options made = to.options();
    made.connect_within = 10s;
    made.retry_first = 1ms;
    made.to.is_secured = true;
    made.to.tls.ca_file = believed.path;
    return made;
}

/// What becomes of an attempt to connect, changed so.
template <class Change>
task<std::pair<std::error_code, std::string>> refusal(fake_broker& broker,
                                                      const authority& believed, Change change) {
    connection_options options = securely(broker, believed);
    change(options.to);
    co_return co_await failure_of([&] { return connect(options); });
}

} // namespace

TEST_SUITE("mq_tls") {
    TEST_CASE("messages of any size travel by TLS, and a cut connection is made again by it") {
        authority ours("ours");
        const auto own = ours.issue("broker");
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            broker.does.secured = serves_with(own);
            auto mq = co_await connect(securely(broker, ours));
            auto on = co_await mq.open_channel();
            (void)co_await on.declare_queue({.name = "q"});
            auto from = co_await on.consume("q");
            for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{400'000}}) {
                const std::string body(bytes, 'x');
                co_await on.publish("", "q", body);
                auto got = co_await from.next();
                REQUIRE(got.has_value());
                const bool is_whole = got->body() == body; // not shown: it is long
                CHECK(is_whole);
                CHECK(co_await got->ack());
            }
            co_await until([&] { return broker.queues["q"].done.size() == 3; });
            broker.hang_up();
            co_await until([&] { return mq.times_up() == 2; });
            co_await on.publish("", "q", "again");
            auto got = co_await from.next();
            REQUIRE(got.has_value());
            CHECK(got->body() == "again");
            co_await mq.close();
            co_await broker.end();
        });
    }

    TEST_CASE("whose certificate is not believed is sent nothing, and it is said what to do") {
        authority ours("ours");
        authority theirs("theirs");
        const auto foreign = theirs.issue("foreign");
        const auto other = ours.issue("other", {.names = "DNS:other.example,IP:127.0.0.2"});
        const auto late = ours.issue("late", {.begins = -7200, .ends = -3600});
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            const auto nothing = [](address&) {};
            broker.does.secured = serves_with(foreign);
            auto [code, text] = co_await refusal(broker, ours, nothing);
            CHECK(code == errc::not_trusted);
            CHECK(has(text, "127.0.0.1:" + broker.options().to.hosts[0].port));
            CHECK(has(text, "has somebody in " + ours.path + " signed it?"));
            std::tie(code, text) =
                co_await refusal(broker, ours, [](address& to) { to.tls.ca_file.clear(); });
            CHECK(code == errc::not_trusted);
            CHECK(has(text, "cacertfile"));
            broker.does.secured = serves_with(other);
            std::tie(code, text) = co_await refusal(broker, ours, nothing);
            CHECK(code == errc::not_trusted);
            CHECK(has(text, "it is not for '127.0.0.1'"));
            broker.does.secured = serves_with(late);
            std::tie(code, text) = co_await refusal(broker, ours, nothing);
            CHECK(code == errc::not_trusted);
            CHECK(has(text, "expired"));
            CHECK(broker.methods.empty());
            co_await broker.end();
        });
    }

    TEST_CASE("a name of its own, and no look at all, are for who asks for them") {
        authority ours("ours");
        const auto other = ours.issue("other", {.names = "DNS:other.example"});
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            broker.does.secured = serves_with(other);
            connection_options options = securely(broker, ours);
            options.to.tls.server_name = "other.example";
            auto named = co_await connect(options);
            co_await named.close();
            options.to.tls = {.verify = false};
            auto blind = co_await connect(options);
            co_await blind.close();
            co_await broker.end();
        });
    }

    TEST_CASE("each of several hosts must have a certificate of its own name") {
        authority ours("ours");
        const auto own = ours.issue("broker", {.names = "DNS:localhost"});
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            broker.does.secured = serves_with(own);
            connection_options options = securely(broker, ours);
            options.to.hosts.push_back({"localhost", options.to.hosts[0].port});
            auto mq = co_await connect(options);
            CHECK(broker.connections() == 2);
            co_await mq.close();
            co_await broker.end();
        });
    }

    TEST_CASE("a broker that asks for a certificate is shown ours, which may be our login") {
        authority ours("ours");
        authority theirs("theirs");
        const auto own = ours.issue("broker");
        const auto mine = ours.issue("client");
        const auto wrong = theirs.issue("client");
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            broker.does.secured = serves_with(own, ours.path);
            auto [code, text] = co_await refusal(broker, ours, [](address&) {});
            CHECK(code == errc::tls_failed);
            CHECK(has(text, "it asks for a certificate: give one (certfile, keyfile)"));
            std::tie(code, text) = co_await refusal(broker, ours, [&](address& to) {
                to.tls.certificate_file = wrong.certificate;
                to.tls.key_file = wrong.key;
            });
            CHECK(code == errc::tls_failed);
            CHECK(has(text, wrong.certificate));
            connection_options options = securely(broker, ours);
            options.to.tls.certificate_file = mine.certificate;
            options.to.tls.key_file = mine.key;
            auto by_password = co_await connect(options);
            CHECK(broker.login.starts_with("PLAIN"));
            co_await by_password.close();
            options.to.by = sapwood::amqp::login::certificate;
            std::tie(code, text) = co_await failure_of([&] { return connect(options); });
            CHECK(code == errc::access_refused);
            CHECK(has(text, "rabbitmq_auth_mechanism_ssl"));
            broker.does.mechanisms = "PLAIN EXTERNAL";
            auto by_certificate = co_await connect(options);
            CHECK(broker.login == "EXTERNAL ");
            co_await by_certificate.close();
            co_await broker.end();
        });
    }

    TEST_CASE("who speaks TLS where the other does not is told which one to say") {
        authority ours("ours");
        const auto own = ours.issue("broker");
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            broker.does.greeting = std::string("AMQP\0\0\x9\x1", 8);
            auto [code, text] = co_await refusal(broker, ours, [](address&) {});
            CHECK(code == errc::tls_failed);
            CHECK(has(text, "and not for amqp://"));
            broker.does.greeting.clear();
            broker.does.takes_at_most = 0; // hangs up in the handshake, as one that is restarted
            std::tie(code, text) = co_await refusal(broker, ours, [](address&) {});
            CHECK(code == errc::connection_lost);
            broker.does.takes_at_most = ~std::size_t{0};
            broker.does.greeting.clear();
            broker.does.secured = serves_with(own);
            std::tie(code, text) =
                co_await refusal(broker, ours, [](address& to) { to.is_secured = false; });
            CHECK(code == errc::connection_lost);
            CHECK(has(text, "does it want TLS (amqps://)?"));
            co_await broker.end();
        });
    }

    TEST_CASE("files that cannot be used are named, and wishes that cannot be meant are refused") {
        authority ours("ours");
        const auto own = ours.issue("broker");
        sapwood::run([&]() -> task<> {
            fake_broker broker;
            broker.does.secured = serves_with(own);
            const auto [code, text] = co_await refusal(
                broker, ours, [](address& to) { to.tls.ca_file = "/nowhere/ca.pem"; });
            CHECK(code == errc::tls_unusable);
            CHECK(has(text, "/nowhere/ca.pem"));
            CHECK(broker.connections() == 0);
            co_await broker.end();
        });
        connection_options options;
        options.to = sapwood::amqp::parse_address("amqps://host?certfile=a");
        CHECK_THROWS_AS((void)connect(options), std::invalid_argument);
        options.to = sapwood::amqp::parse_address("amqps://host?auth_mechanism=external");
        CHECK_THROWS_AS((void)connect(options), std::invalid_argument);
    }
}

// datagram: messages whole or cut, and from whom.
#include "support/co_test.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/datagram.hpp>

#include <array>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::endpoint;
using sapwood::task;
using sapwood::udp_socket;
using sapwood::unix_datagram;
using sapwood::test::failure_of;
using sapwood::test::loopback;
using sapwood::test::settle;

} // namespace

TEST_SUITE("datagram") {

    CO_TEST_CASE("datagrams keep their boundaries and tell where they come from") {
        std::vector<endpoint> places{loopback()};
        if (sapwood::test::has_ipv6()) {
            places.emplace_back("::1", std::uint16_t{0});
        }
        for (const auto& at : places) {
            udp_socket one(at);
            udp_socket other(at);
            co_await one.send_to("first"sv, other.local_endpoint());
            co_await one.send_to(""sv, other.local_endpoint());
            co_await one.send_to("third one"sv, other.local_endpoint());
            std::array<char, 64> bytes{};
            auto got = co_await other.receive_from(bytes);
            CHECK(got.size == 5);
            CHECK_FALSE(got.is_truncated);
            CHECK(got.from == one.local_endpoint());
            got = co_await other.receive_from(bytes);
            CHECK(got.size == 0);
            got = co_await other.receive_from(bytes);
            CHECK(std::string_view(bytes.data(), got.size) == "third one");
        }
    }

    CO_TEST_CASE("a datagram that is longer than the buffer is cut, and says so") {
        udp_socket one(loopback());
        udp_socket other(loopback());
        co_await one.send_to("0123456789"sv, other.local_endpoint());
        co_await one.send_to("next"sv, other.local_endpoint());
        std::array<char, 4> bytes{};
        auto got = co_await other.receive_from(bytes);
        CHECK(got.size == 4);
        CHECK(got.is_truncated);
        got = co_await other.receive_from(bytes);
        CHECK(std::string_view(bytes.data(), got.size) == "next");
        CHECK_FALSE(got.is_truncated);
    }

    CO_TEST_CASE("a datagram that is too long to be sent is refused whole") {
        udp_socket one(loopback());
        const std::string text(70'000, 'x');
        const auto to = one.local_endpoint();
        const auto [code, message] = co_await failure_of([&] { return one.send_to(text, to); });
        CHECK(code == std::errc::message_size);
        CHECK(message.find("cannot send a datagram of 70000 bytes to 127.0.0.1:") == 0);
    }

    CO_TEST_CASE("a receive that waits can be cancelled, and the next one gets what comes") {
        udp_socket one(loopback());
        std::array<char, 8> bytes{};
        auto receive = [&]() -> task<std::size_t> {
            const auto got = co_await one.receive_from(bytes);
            co_return got.size;
        };
        auto receiving = sapwood::spawn(receive());
        co_await settle();
        CHECK_FALSE(receiving.done());
        receiving.cancel();
        CHECK_THROWS_AS((void)co_await receiving, sapwood::cancelled);
        receiving = sapwood::spawn(receive());
        co_await settle();
        co_await one.send_to("abc"sv, one.local_endpoint());
        CHECK(co_await receiving == 3);
    }

    CO_TEST_CASE("Unix datagrams wait for room in the receiver's queue and lose nothing") {
        const sapwood::test::temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        unix_datagram receiver(at);
        auto sender = unix_datagram::make_unnamed();
        constexpr int count = 2000;
        auto send = [&]() -> task<> {
            for (int i = 0; i < count; ++i) {
                co_await sender.send_to(std::to_string(i), at);
            }
        };
        auto sending = sapwood::spawn(send());
        co_await settle();
        std::array<char, 16> bytes{};
        bool is_in_order = true;
        for (int i = 0; i < count; ++i) {
            const auto got = co_await receiver.receive_from(bytes);
            is_in_order =
                is_in_order && std::string_view(bytes.data(), got.size) == std::to_string(i);
            CHECK(got.from.to_string() != at.to_string());
        }
        CHECK(is_in_order);
        co_await sending;
    }

    CO_TEST_CASE("a Unix datagram that has to wait for room in a full queue comes whole") {
        const auto at = endpoint::unix_abstract("sapwood-full-queue-" + std::to_string(::getpid()));
        unix_datagram receiver(at);
        auto sender = unix_datagram::make_unnamed();
        const std::string filling(100, 'f');
        std::size_t in_queue = 0;
        while (::sendto(sender.fd(), filling.data(), filling.size(), MSG_DONTWAIT, at.data(),
                        at.size()) > 0) {
            ++in_queue;
        }
        REQUIRE(in_queue > 0);
        const std::string late(200, 'l');
        auto send = [&]() -> task<> { co_await sender.send_to(late, at); };
        auto sending = sapwood::spawn(send());
        auto given_up = sapwood::spawn(send());
        co_await settle();
        given_up.cancel();
        CHECK_THROWS_AS(co_await given_up, sapwood::cancelled);
        std::array<char, 300> bytes{};
        for (std::size_t i = 0; i < in_queue; ++i) {
            CHECK((co_await receiver.receive_from(bytes)).size == filling.size());
        }
        CHECK((co_await receiver.receive_from(bytes)).size == late.size());
        co_await sending;
        CHECK(::recv(receiver.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT) == -1);
    }

    CO_TEST_CASE("a Unix datagram to a receiver that is gone is an error") {
        const sapwood::test::temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        { const unix_datagram receiver(at); }
        auto sender = unix_datagram::make_unnamed();
        CHECK((co_await failure_of([&] { return sender.send_to("x"sv, at); })).first ==
              std::errc::connection_refused);
    }

    TEST_CASE("an endpoint of the wrong kind, or one that is taken, is refused") {
        CHECK_THROWS_AS(udp_socket{endpoint::unix_path("/x")}, std::system_error);
        CHECK_THROWS_AS(unix_datagram{loopback()}, std::system_error);
        const udp_socket first(loopback());
        CHECK_THROWS_AS(udp_socket{first.local_endpoint()}, std::system_error);
        const udp_socket shared(loopback(), {.reuse_port = true});
        const udp_socket sharing(shared.local_endpoint(), {.reuse_port = true});
        CHECK(sharing.is_open());
    }
}

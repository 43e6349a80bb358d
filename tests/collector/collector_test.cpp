// A collector as a whole: what of it fails, and how it ends then.
#include "collector/served.hpp"
#include "support/co_test.hpp"

#include <collector/collector.hpp>

#include <sapwood/endpoint.hpp>

#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace {

using sapwood::endpoint;
using sapwood::tcp_stream;
using sapwood::collector::collector;

/// The descriptor by which this process listens there.
int listening_at(const endpoint& place) {
    for (int fd = 3; fd < 1024; ++fd) {
        int listens = 0;
        socklen_t size = sizeof(listens);
        sockaddr_storage name{};
        socklen_t name_size = sizeof(name);
        auto* const address = reinterpret_cast<sockaddr*>(&name);
        if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
            ::getsockname(fd, address, &name_size) == 0 && endpoint(address, name_size) == place) {
            return fd;
        }
    }
    return -1;
}

} // namespace

TEST_SUITE("collector") {
    CO_TEST_CASE("where a listener fails it does not go on without it: it drains, and says why") {
        const sapwood::test::temporary_directory directory;
        sapwood::collector::collector_options options;
        auto& log = options.logs.emplace_back();
        log.name = "app";
        log.path = directory / "app.log";
        options.listeners.emplace_back().at = sapwood::test::loopback();
        options.listeners.emplace_back().at = sapwood::test::loopback();
        const auto it = co_await collector::open(options);
        auto running = sapwood::spawn(it->run());
        auto client = co_await tcp_stream::connect(it->endpoints().back());
        const std::string request = sapwood::test::served::post_of("{\"n\":1}");
        co_await client.write_all(std::string_view(request));
        co_await client.shutdown_write();
        const std::string answer = co_await sapwood::test::read_to_end(client);
        CHECK(sapwood::test::status_of(answer) == 200);

        const int broken = listening_at(it->endpoints().front());
        REQUIRE(broken >= 0);
        REQUIRE(::shutdown(broken, SHUT_RDWR) == 0); // accepting is EINVAL from now on
        std::error_code why;
        try {
            co_await running;
        } catch (const std::system_error& failure) {
            why = failure.code();
        }
        CHECK(why == std::errc::invalid_argument);
        CHECK(it->shared().is_draining);
        CHECK(it->left().empty());
        CHECK(sapwood::test::has(sapwood::test::contents_of(directory / "app.log"), "{\"n\":1}"));
    }
}

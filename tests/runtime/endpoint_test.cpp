// endpoint: text to address and back.
#include <sapwood/endpoint.hpp>

#include <cstring>
#include <doctest/doctest.h>
#include <ostream>
#include <string>
#include <string_view>
#include <sys/un.h>
#include <system_error>

namespace {

using namespace std::string_view_literals;
using sapwood::endpoint;

doctest::String refusal(std::string_view text) {
    try {
        (void)endpoint::parse(text);
    } catch (const std::system_error& failure) {
        CHECK(failure.code() == std::errc::invalid_argument);
        return failure.what();
    }
    return "it was taken";
}

} // namespace

TEST_SUITE("endpoint") {

    TEST_CASE("what parse reads to_string prints") {
        for (const auto text : {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:443",
                                "[fe80::1%lo]:9", "unix:/run/app.sock", "unix:relative",
                                "unix:@app", "unix:@with\\x0anewline", "unix:\\x40path"}) {
            CHECK(endpoint::parse(text).to_string() == text);
        }
    }

    TEST_CASE("address, port and path are told apart") {
        const endpoint v4("127.0.0.1", 80);
        CHECK(v4.family() == AF_INET);
        CHECK(v4.address() == "127.0.0.1");
        CHECK(v4.port() == 80);
        CHECK(v4.path().empty());
        const auto path = endpoint::unix_path("/run/x");
        CHECK(path.path() == "/run/x");
        CHECK(path.port() == 0);
        CHECK(endpoint::unix_abstract("x").path().empty());
        CHECK(endpoint::unix_abstract("x").address() == "@x");
        CHECK(endpoint().to_string() == "nowhere");
    }

    TEST_CASE("endpoints are equal when they are the same place") {
        CHECK(endpoint::parse("127.0.0.1:80") == endpoint("127.0.0.1", 80));
        CHECK_FALSE(endpoint("127.0.0.1", 80) == endpoint("127.0.0.1", 81));
        CHECK_FALSE(endpoint("::1", 80) == endpoint("127.0.0.1", 80));
        CHECK(endpoint::unix_path("/x") == endpoint::parse("unix:/x"));
        CHECK_FALSE(endpoint::unix_path("x") == endpoint::unix_abstract("x"));
        sockaddr_un bound{};
        bound.sun_family = AF_UNIX;
        std::memcpy(bound.sun_path, "/x", 3);
        CHECK(endpoint(reinterpret_cast<const sockaddr*>(&bound), sizeof(bound)) ==
              endpoint::unix_path("/x"));
    }

    TEST_CASE("what is no endpoint is refused with a reason") {
        CHECK(refusal("127.0.0.1") == doctest::Contains("is no endpoint: write 127.0.0.1:80"));
        CHECK(refusal("::1:80") == doctest::Contains("is no endpoint"));
        CHECK(refusal("localhost:80") == doctest::Contains("here, but by connect_to() and"));
        CHECK(refusal("127.0.0.1:65536") == doctest::Contains("has no port"));
        CHECK(refusal("127.0.0.1:") == doctest::Contains("has no port"));
        CHECK(refusal("127.0.0.1:-1") == doctest::Contains("has no port"));
        CHECK(refusal("[fe80::1%missing]:1") == doctest::Contains("interface"));
        CHECK(refusal("unix:") == doctest::Contains("0 bytes"));
        CHECK(refusal("unix:" + std::string(108, 'x')) == doctest::Contains("108 bytes"));
        CHECK(endpoint::parse("unix:" + std::string(107, 'x')).path().size() == 107);
        CHECK(refusal("unix:a\\x00b") == doctest::Contains("contains a NUL"));
    }

    TEST_CASE("a peer's name cannot forge a line") {
        const auto forged = endpoint::unix_abstract("a\nb\x1b[2J\0c"sv);
        CHECK(forged.to_string() == "unix:@a\\x0ab\\x1b[2J\\x00c");
        CHECK(endpoint::parse(forged.to_string()) == forged);
    }
}

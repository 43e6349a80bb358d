// URLs of brokers.
#include <sapwood/amqp/address.hpp>

#include <doctest/doctest.h>
#include <stdexcept>
#include <string>

using sapwood::amqp::parse_address;

TEST_SUITE("address") {
    TEST_CASE("what a URL does not say is a broker's default") {
        const auto it = parse_address("amqp://host");
        CHECK(it.user == "guest");
        CHECK(it.password == "guest");
        CHECK(it.vhost == "/");
        REQUIRE(it.hosts.size() == 1);
        CHECK(it.hosts[0].host == "host");
        CHECK(it.hosts[0].port == "5672");
        CHECK(parse_address("amqp://guest:guest@localhost/").vhost == "/");
    }

    TEST_CASE("every part may be encoded, and there may be several hosts") {
        const auto it = parse_address("amqp://a%40b:p%3a%2f%25@one:1,[::1]:2,three/v%2Fh");
        CHECK(it.user == "a@b");
        CHECK(it.password == "p:/%");
        CHECK(it.vhost == "v/h");
        REQUIRE(it.hosts.size() == 3);
        CHECK(it.hosts[0].port == "1");
        CHECK(it.hosts[1].host == "::1");
        CHECK(it.hosts[1].port == "2");
        CHECK(it.hosts[2].port == "5672");
        CHECK(it.to_string() == "amqp://a@b@one:1,[::1]:2,three:5672/v/h");
    }

    TEST_CASE("amqps is TLS, on its own port, with parameters as RabbitMQ's clients have them") {
        const auto plain = parse_address("amqps://one,two:1");
        CHECK(plain.is_secured);
        CHECK(plain.tls.verify);
        CHECK(plain.hosts[0].port == "5671");
        CHECK(plain.to_string() == "amqps://guest@one:5671,two:1/");
        const auto it = parse_address("amqps://host?cacertfile=%2Fa%20b.pem&certfile=/c&keyfile=/k&"
                                      "verify=verify_none&server_name_indication=n.example&"
                                      "auth_mechanism=external");
        CHECK(it.tls.ca_file == "/a b.pem");
        CHECK(it.tls.certificate_file == "/c");
        CHECK(it.tls.key_file == "/k");
        CHECK(it.tls.server_name == "n.example");
        CHECK_FALSE(it.tls.verify);
        CHECK(it.by == sapwood::amqp::login::certificate);
        CHECK(it.to_string() == "amqps://host:5671/");
        CHECK_FALSE(parse_address("amqp://host").is_secured);
    }

    TEST_CASE("what is wrong with a URL is said without its password") {
        for (const char* const url : {"http://host",
                                      "amqp://",
                                      "amqp://user:secret@",
                                      "amqp://user:secret@host:port/",
                                      "amqp://user:secret%2@host",
                                      "amqp://user:secret/a@host",
                                      "amqp://user:secret@host/v/w",
                                      "amqp://user:secret@[::1/",
                                      "amqp://user:secret@host:/",
                                      "amqp://user:secret@host,/",
                                      "amqp://user:secret@host/?a",
                                      "amqp://user:secret@host/?cacertfile=a",
                                      "amqps://user:secret@host/?a",
                                      "amqps://user:secret@host/?unknown=a",
                                      "amqps://user:secret@host/?verify=perhaps",
                                      "amqps://user:secret@host/?certfile=%1",
                                      "amqps://user:x?secret@host/",
                                      "amqps://user:x?secret=y@host/",
                                      "amqps://user:x?y=secret@host/",
                                      "amqps://user:x?verify=secret@host/",
                                      "amqp://user:123/secret@host",
                                      "amqps://user:123?secret=1@host"}) {
            CAPTURE(url);
            std::string said;
            try {
                (void)parse_address(url);
            } catch (const std::invalid_argument& refused) {
                said = refused.what();
            }
            CHECK(said.starts_with("AMQP URL: "));
            CHECK(said.find("secret") == said.npos);
        }
    }
}

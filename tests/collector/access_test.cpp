// Tokens: what their file says, whose a secret is, and how much each may send.
#include "collector/served.hpp"
#include "support/co_test.hpp"
#include "support/temporary_directory.hpp"

#include <collector/access.hpp>
#include <collector/collector.hpp>

#include <sapwood/tcp.hpp>
#include <sapwood/unix_socket.hpp>

#include <cstdlib>
#include <doctest/doctest.h>
#include <stdexcept>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace {

using namespace std::string_literals;
using namespace std::chrono_literals;
using namespace sapwood;
using namespace sapwood::collector;
using sapwood::test::temporary_directory;

access_token token(const std::string& name, const std::string& secret) {
    access_token made;
    made.name = name;
    made.secret = secret;
    return made;
}

class token_file {
  public:
    explicit token_file(const std::string& text, mode_t mode = 0600) {
        test::fill(path, text);
        ::chmod(path.c_str(), mode);
    }

    /// What is wrong with it.
    [[nodiscard]] std::string wrong() const {
        try {
            (void)read_tokens(path);
        } catch (const std::runtime_error& why) { // std::system_error is one
            return why.what();
        }
        return "nothing";
    }

    temporary_directory directory;
    std::string path = directory / "tokens";
};

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

} // namespace

TEST_SUITE("access") {
    TEST_CASE("a line is a token, with its logs and its shares") {
        const token_file file("# who may write\n\n"
                              "shop 0123456789abcdef logs=app,billing rate=1000 burst=5000\n"
                              "  backup\tfedcba9876543210 bytes=1000000 burst_bytes=9000000\r\n");
        const auto tokens = read_tokens(file.path);
        REQUIRE(tokens.size() == 2);
        CHECK(tokens[0].name == "shop");
        CHECK(tokens[0].logs == std::vector{"app"s, "billing"s});
        CHECK(tokens[0].records_per_second == 1000);
        CHECK(tokens[0].records_at_once == 5000);
        CHECK(tokens[0].bytes_per_second == 0);
        CHECK(tokens[1].secret == "fedcba9876543210");
        CHECK(tokens[1].bytes_per_second == 1'000'000);
        CHECK(tokens[1].bytes_at_once == 9'000'000);
        CHECK(may_write(tokens[0], "billing"));
        CHECK(!may_write(tokens[0], "audit"));
        CHECK(may_write(tokens[1], "audit"));
    }

    TEST_CASE("a mistake in the file is told with its line") {
        const std::string secret = " 0123456789abcdef";
        CHECK(has(token_file("a short").wrong(), ":1: a token is a name and a secret of at least"));
        CHECK(
            has(token_file("\na" + secret + " rate=many").wrong(), ":2: \"rate=many\" is neither"));
        CHECK(has(token_file("a" + secret + " rate=0").wrong(), ":1: \"rate=0\""));
        CHECK(has(token_file("a" + secret + " logs=").wrong(), ":1: \"logs=\""));
        CHECK(has(token_file("a" + secret + " speed=1").wrong(), ":1: \"speed=1\""));
        CHECK(has(token_file("a" + secret + " burst=9").wrong(), ":1: burst is of a rate"));
        CHECK(has(token_file("a" + secret + "\na 1111111111111111").wrong(), ":2: this name"));
        CHECK(has(token_file("a" + secret + "\nb" + secret).wrong(), ":2: this name, or this"));
        CHECK(has(token_file("# nobody\n").wrong(), "holds no token"));
        CHECK(has(token_file("a" + secret, 0640).wrong(), "chmod 600"));
        CHECK(token_file("a" + secret).wrong() == "nothing");
    }

    TEST_CASE("tokens are read from a file of our own, and nothing else is waited for") {
        const temporary_directory directory;
        const std::string path = directory / "tokens";
        const auto wrong = [&] {
            try {
                (void)read_tokens(path);
            } catch (const std::runtime_error& why) {
                return std::string(why.what());
            }
            return "nothing"s;
        };
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0); // nobody ever writes to it
        CHECK(has(wrong(), "is no file"));
        REQUIRE(::unlink(path.c_str()) == 0);
        CHECK(has(wrong(), "cannot read tokens from"));
        test::fill(path, "a 0123456789abcdef\n");
        ::chmod(path.c_str(), 0600);
        CHECK(wrong() == "nothing");
        if (::geteuid() != 0) {
            MESSAGE("skipped: needs root, to give a file to somebody else");
            return;
        }
        REQUIRE(::chown(path.c_str(), 4711, 0) == 0); // who could change it whenever he likes
        CHECK(has(wrong(), "holds secrets, and is somebody else's"));
    }

    TEST_CASE("a name of this machine is the same in capitals") {
        access_rules rules;
        rules.set_hosts({"Logs.Example"});
        CHECK(rules.is_own_host("logs.example:8514"));
        CHECK(rules.is_own_host("LOGS.example"));
        CHECK(rules.is_own_host("LocalHost:8514"));
        CHECK(!rules.is_own_host("logs.example.org"));
    }

    TEST_CASE("what a service manager has put aside for us is read, whatever its mode says") {
        const token_file file("a 0123456789abcdef", 0440); // its access list's mask
        CHECK(has(file.wrong(), "chmod 600"));
        CHECK_THROWS_AS((void)credential_path("credential:tokens"), std::runtime_error);
        const std::string directory = file.path.substr(0, file.path.rfind('/'));
        ::setenv("CREDENTIALS_DIRECTORY", directory.c_str(), 1);
        CHECK(file.wrong() == "nothing");
        CHECK(credential_path("credential:tokens") == file.path);
        CHECK(read_tokens("credential:tokens").size() == 1);
        CHECK(credential_path("/etc/tokens") == "/etc/tokens");
        ::setenv("CREDENTIALS_DIRECTORY", (directory + "x").c_str(), 1);
        CHECK(has(file.wrong(), "chmod 600"));
        ::unsetenv("CREDENTIALS_DIRECTORY");
    }

    TEST_CASE("a secret is taken as bearers, Splunk's clients and basic authentication have it") {
        access_rules rules;
        rules.set_tokens({token("ann", "0123456789abcdef"), token("bob", "fedcba9876543210")});
        const auto whose = [&rules](std::string_view authorization) {
            const auto* const found = rules.find(authorization);
            return found == nullptr ? "nobody"s : found->token.name;
        };
        CHECK(whose("Bearer 0123456789abcdef") == "ann");
        CHECK(whose("bearer  fedcba9876543210") == "bob");
        CHECK(whose("Splunk fedcba9876543210") == "bob");
        CHECK(whose("Basic YW5uOjAxMjM0NTY3ODlhYmNkZWY=") == "ann"); // ann:0123456789abcdef
        CHECK(whose("basic OmZlZGNiYTk4NzY1NDMyMTA=") == "bob");     // :fedcba9876543210
        CHECK(whose("ApiKey YW5uOjAxMjM0NTY3ODlhYmNkZWY=") == "ann");
        CHECK(whose("Basic !!!!") == "nobody");
        CHECK(whose("Basic MDEyMzQ1Njc4OWFiY2RlZg==") == "nobody"); // without a colon
        CHECK(whose("Basic " + std::string(100'000, 'A')) == "nobody");
        CHECK(whose("Bearer 0123456789abcdeg") == "nobody");
        CHECK(whose("Bearer 0123456789abcde") == "nobody");
        CHECK(whose("Bearer 0123456789abcdef0") == "nobody");
        CHECK(whose("Bearer") == "nobody");
        CHECK(whose("") == "nobody");
        CHECK(whose("Digest 0123456789abcdef") == "nobody");
    }

    TEST_CASE("a share is so much in a second and so much at once, and it is told when to come") {
        const clock::time_point start{1h};
        quota share(10, 30);
        CHECK(share.wait_for(30, start) == 0s);
        share.take(30);
        CHECK(share.wait_for(5, start) > 99ms);
        CHECK(share.wait_for(5, start) < 101ms);
        CHECK(share.wait_for(5, start + 100ms) == 0s);
        share.take(5);
        CHECK(share.wait_for(1, start + 100ms) > 499ms); // four that were not there, and this one
        CHECK(share.wait_for(1, start + 100ms) < 501ms);
        CHECK(share.wait_for(1000, start + 1h) == 0s); // there are 30 then, and never more
        share.take(1000);
        CHECK(share.wait_for(1, start + 1h) > 97s);
        CHECK(share.wait_for(1, start + 1h) < 98s);
        quota none(0, 0);
        CHECK(none.wait_for(1'000'000'000, start) == 0s);
    }

    TEST_CASE("who sends much at a time has his share beside one who sends little, of records and "
              "of bytes") {
        access_token both = token("ann", "0123456789abcdef");
        for (const bool are_bytes : {false, true}) {
            (are_bytes ? both.bytes_per_second : both.records_per_second) = 10;
            (are_bytes ? both.bytes_at_once : both.records_at_once) = 1000;
            access_rules::holder who(both);
            const auto come = [&](std::uint64_t amount, clock::time_point now) {
                return access_rules::wait_for(who, are_bytes ? 0 : amount, are_bytes ? amount : 0,
                                              now) == 0s;
            };
            const clock::time_point start{1h};
            CHECK(come(1000, start));
            // Single ones take what comes anew, ten in a second, as soon as it is there.
            unsigned few = 0;
            unsigned many = 0;
            for (int i = 1; i <= 1000; ++i) {
                few += come(1, start + i * 101ms) ? 1 : 0;
                many += come(500, start + i * 101ms) ? 1 : 0;
            }
            CHECK(many >= 1);
            CHECK(few + 500 * many < 1010 + 500);
            both = token("ann", "0123456789abcdef");
        }
    }

    TEST_CASE("what is too much of one kind is not counted of the other") {
        access_token both = token("ann", "0123456789abcdef");
        both.records_per_second = 10;
        both.bytes_per_second = 100;
        access_rules::holder who(both);
        const clock::time_point start{1h};
        CHECK(access_rules::wait_for(who, 1, 100, start) == 0s);
        CHECK(access_rules::wait_for(who, 9, 50, start) > 0s); // bytes
        CHECK(access_rules::wait_for(who, 9, 0, start) == 0s);
        CHECK(access_rules::wait_for(who, 1, 0, start) > 0s); // records
    }

    TEST_CASE("new settings give nobody back what he has used, unless his line has changed") {
        access_rules rules;
        access_token ann = token("ann", "0123456789abcdef");
        ann.records_per_second = 10;
        rules.set_tokens({ann});
        const clock::time_point start{1h};
        const auto wait = [&] {
            return access_rules::wait_for(*rules.find("Bearer 0123456789abcdef"), 10, 0, start);
        };
        CHECK(wait() == 0s);
        CHECK(wait() > 0s);
        rules.set_tokens({token("new", "fedcba9876543210"), ann});
        CHECK(wait() > 0s);
        ann.records_per_second = 20;
        rules.set_tokens({ann});
        CHECK(wait() == 0s);
    }

    TEST_CASE(
        "what cannot be meant of a listener is refused: a log of HTTP's, a name without a mode") {
        const auto wrong = [](const char* at, source_kind kind, const char* log, auto change) {
            collector_options options;
            for (const char* const name : {"app", "audit"}) {
                named_log_options& made = options.logs.emplace_back();
                made.name = name;
                made.path = "/nowhere/"s + name;
            }
            auto& listener = options.listeners.emplace_back();
            listener.kind = kind;
            listener.at = endpoint::parse(at);
            listener.log = log;
            change(options);
            try {
                require_valid(options);
            } catch (const std::exception& why) {
                return std::string(why.what());
            }
            return "nothing"s;
        };
        using enum source_kind;
        const auto as_it_is = [](collector_options&) {};
        const auto with_users = [](collector_options& of) { of.listeners.front().users = {0}; };
        const auto with_all = [](collector_options& of) { of.takes_from_anybody = true; };
        CHECK(has(wrong("127.0.0.1:1", http, "audit", as_it_is), "POST to /log/audit"));
        CHECK(wrong("127.0.0.1:1", http, "", as_it_is) == "nothing");
        CHECK(wrong("127.0.0.1:1", lines, "audit", as_it_is) == "nothing");
        for (const auto kind : {http, lines, syslog, syslog_datagrams}) {
            CHECK(has(wrong("unix:@x", kind, "", as_it_is), "every user of this machine"));
            CHECK(wrong("unix:@x", kind, "", with_all) == "nothing");
            CHECK(wrong("unix:@x", kind, "", with_users) == "nothing");
        }
    }

    CO_TEST_CASE("who posts by a Unix socket is told by the kernel, and by IPv6 by his address") {
        const temporary_directory directory;
        collector_options options;
        options.listeners.emplace_back().at = endpoint::unix_path(directory / "http");
        try {
            const auto any = endpoint::parse("[::1]:0");
            const tcp_listener probe(any);
            options.listeners.emplace_back().at = any;
        } catch (const std::system_error&) {
            MESSAGE("without IPv6: this machine has none");
        }
        const std::size_t places = options.listeners.size();
        sapwood::test::served at(options);
        co_await at.begin();
        const std::string request = sapwood::test::served::post_of("{}");
        auto client = co_await unix_stream::connect(at.it->endpoints().front());
        co_await client.write_all(std::string_view(request));
        co_await client.shutdown_write();
        const std::string answer = co_await sapwood::test::read_to_end(client);
        CHECK(sapwood::test::status_of(answer) == 200);
        if (places == 2) {
            const std::string other = co_await at.exchange(request, 1);
            CHECK(sapwood::test::status_of(other) == 200);
        }
        co_await at.end();
        const auto kept = at.lines();
        REQUIRE(kept.size() == places);
        CHECK(kept.front() ==
              fmt::format("[http pid={} uid={} gid={}] {{}}", ::getpid(), ::getuid(), ::getgid()));
        CHECK(kept.back().starts_with(places == 2 ? "[http ::1." : "[http pid="));
    }

    TEST_CASE("who listens beyond this machine needs a token or TLS, and a datagram has neither") {
        const auto wrong = [](source_kind kind, const char* at, bool has_tokens, bool has_tls) {
            collector_options options;
            named_log_options log;
            log.name = "app";
            log.path = "/nowhere/app.log";
            options.logs.push_back(log);
            auto& listener = options.listeners.emplace_back();
            listener.kind = kind;
            listener.at = endpoint::parse(at);
            listener.secured = has_tls ? security::tls : security::automatic;
            if (has_tokens) {
                options.tokens.push_back(token("ann", "0123456789abcdef"));
            }
            options.tls.certificate = has_tls ? "/nowhere/cert.pem" : "";
            options.tls.key = has_tls ? "/nowhere/key.pem" : "";
            try {
                require_valid(options);
            } catch (const std::exception& why) {
                return std::string(why.what());
            }
            return "nothing"s;
        };
        using enum source_kind;
        for (const auto kind : {http, lines, syslog, syslog_datagrams}) {
            CHECK(wrong(kind, "127.0.0.1:1", false, false) == "nothing");
            CHECK(wrong(kind, "[::1]:1", false, false) == "nothing");
            CHECK(wrong(kind, "unix:/run/x", false, false) == "nothing");
        }
        CHECK(has(wrong(http, "0.0.0.0:1", false, false), "give tokens (--tokens FILE) or TLS"));
        CHECK(wrong(http, "0.0.0.0:1", true, false) == "nothing");
        CHECK(has(wrong(lines, "[::]:1", false, false), "give it TLS"));
        CHECK(has(wrong(lines, "[::]:1", true, false), "give it TLS")); // it asks for none
        CHECK(has(wrong(syslog, "10.0.0.1:1", true, false), "give it TLS"));
        CHECK(has(wrong(syslog_datagrams, "0.0.0.0:1", true, false), "--from-anybody"));
        // The certificate is not there: that is looked at when nothing else is wrong.
        const std::string last = tls_context::is_built() ? "/nowhere/cert.pem" : "without OpenSSL";
        CHECK(has(wrong(http, "0.0.0.0:1", false, true), last));
        CHECK(has(wrong(lines, "0.0.0.0:1", false, true), last));
        CHECK(has(wrong(syslog_datagrams, "127.0.0.1:1", false, true), "TLS is for streams"));
        CHECK(has(wrong(http, "unix:/run/x", false, true), "TLS is for streams over TCP"));
    }
}

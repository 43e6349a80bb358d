// Lines and syslog messages, by streams and datagrams: what is in the log, and from whom.
#include "collector/served.hpp"
#include "support/co_test.hpp"

#include <sapwood/datagram.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
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
using sapwood::collector::source_kind;
using sapwood::test::served;

using lines = std::vector<std::string>;

collector_options listening(source_kind kind, const endpoint& at) {
    collector_options options;
    auto& listener = options.listeners.emplace_back();
    listener.kind = kind;
    listener.at = at;
    return options;
}

task<> send_and_end(endpoint to, std::string bytes) {
    auto client = co_await tcp_stream::connect(to);
    co_await client.write_all(std::string_view(bytes));
    co_await client.shutdown_write();
    CHECK(co_await sapwood::test::read_to_end(client) == "");
}

} // namespace

TEST_SUITE("line_session") {
    CO_TEST_CASE("lines of a Unix socket are records, with who sent them") {
        const sapwood::test::temporary_directory directory;
        served at(listening(source_kind::lines, endpoint::unix_path(directory / "s")));
        co_await at.begin();

        struct stat made {};

        REQUIRE(::stat((directory / "s").c_str(), &made) == 0);
        CHECK((made.st_mode & 0777) == 0600);
        auto client = co_await unix_stream::connect(at.it->endpoints().front());
        co_await client.write_all(
            "text\n{\"level\":\"error\"}\r\n\n{broken\n\x1b[31mred\nno end"sv);
        co_await client.shutdown_write();
        CHECK(co_await sapwood::test::read_to_end(client) == "");
        co_await at.end();
        const std::string from =
            fmt::format("[unix pid={} uid={} gid={}", ::getpid(), ::getuid(), ::getgid());
        CHECK(at.lines() == lines{from + "] text", from + "] {\"level\":\"error\"}",
                                  from + "] {broken", from + "] \\x1b[31mred",
                                  from + " cut=true] no end"});
    }

    CO_TEST_CASE("lines that come together are what they would be one by one") {
        const lines good{R"({"a":1})",   R"({"a":2})",       R"( {"a":3})", R"({"a":4} )", "",
                         R"({"a":"5"})", R"({"level":"e"})", "{}",          R"({"a":6})"};
        const lines wrong{R"({"a":1}x)", R"({"a":1}{})", "text", "{", R"({"a":1},)", "[1]"};
        for (std::size_t which = 0; which <= wrong.size(); ++which) {
            for (const bool has_return : {false, true}) {
                lines found[2];
                for (const bool is_together : {false, true}) {
                    const sapwood::test::temporary_directory directory;
                    auto options =
                        listening(source_kind::lines, endpoint::unix_path(directory / "s"));
                    options.limits.line_bytes_max = 12; // {"level":"e"} is longer
                    served at(options);
                    co_await at.begin();
                    auto client = co_await unix_stream::connect(at.it->endpoints().front());
                    std::string text;
                    for (std::size_t i = 0; i <= good.size(); ++i) {
                        const std::string& line = i < good.size()        ? good[i]
                                                  : which < wrong.size() ? wrong[which]
                                                                         : good.front();
                        text += line + (has_return ? "\r\n" : "\n");
                        if (!is_together) {
                            co_await client.write_all(std::string_view(text));
                            co_await sapwood::idle(1h); // it is read by itself
                            text.clear();
                        }
                    }
                    co_await client.write_all(std::string_view(text + "{\"end"));
                    co_await client.shutdown_write();
                    CHECK(co_await sapwood::test::read_to_end(client) == "");
                    co_await at.end();
                    found[is_together ? 1 : 0] = at.lines();
                }
                CHECK(found[0].size() == good.size() + 1);
                CHECK(found[1] == found[0]);
            }
        }
    }

    CO_TEST_CASE("a line that is too long is cut, says so, and the next one is whole") {
        collector_options options = listening(source_kind::lines, sapwood::test::loopback());
        options.limits.line_bytes_max = 10;
        served at(options);
        co_await at.begin();
        co_await send_and_end(at.it->endpoints().front(), "0123456789\n0123456789abc\nnext\n" +
                                                              std::string(100'000, 'x') +
                                                              "\nlast\n");
        co_await at.end();
        CHECK(at.records() == lines{"0123456789", "0123456789", "next", "xxxxxxxxxx", "last"});
        CHECK(at.lines().at(1).find("cut=true") != std::string::npos);
        CHECK(at.lines().at(3).find("cut=true") != std::string::npos);
        CHECK(at.lines().at(4).find("cut=true") == std::string::npos);
    }

    CO_TEST_CASE("syslog over TCP: by length, by newline, by NUL") {
        served at(listening(source_kind::syslog, sapwood::test::loopback()));
        co_await at.begin();
        const endpoint to = at.it->endpoints().front();
        co_await send_and_end(to, "9 <11>a\nb\0c"s.substr(0, 11) + "5 <14>d");
        co_await send_and_end(to, "<14>e\n<14>f\0g\n"s);
        co_await send_and_end(to, "<14>h\ni\0"s);
        co_await send_and_end(to, "5 <14>jgarbage\n<14>k\n");
        co_await send_and_end(to, "99999999 <14>l\n");
        co_await at.end();
        CHECK(at.records() == lines{"a\\nb\\x00c", "d", "e", "f\\x00g", "h\\ni", "j", "garbage",
                                    "k", "99999999 <14>l"});
    }

    CO_TEST_CASE("syslog datagrams by UDP say from where, and who they say they are") {
        served at(listening(source_kind::syslog_datagrams, sapwood::test::loopback()));
        co_await at.begin();
        sapwood::udp_socket client(sapwood::test::loopback());
        const auto to = at.it->endpoints().front();
        co_await client.send_to("<13>Nov 26 21:05:07 web] su[1]: a\nb"sv, to);
        co_await client.send_to(""sv, to);
        co_await at.end();
        CHECK(at.lines() ==
              lines{fmt::format("[udp {} facility=user host=web\\x5d app=su process=1] a\\nb",
                                client.local_endpoint().to_string()),
                    fmt::format("[udp {}] ", client.local_endpoint().to_string())});
    }

    CO_TEST_CASE("syslog datagrams of a Unix socket have the kernel's word for the sender") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        {
            const sapwood::unix_datagram dead(place); // leaves its path
        }
        served at(listening(source_kind::syslog_datagrams, place));
        co_await at.begin();
        auto client = sapwood::unix_datagram::make_unnamed();
        for (int i = 0; i < 100; ++i) {
            const std::string text = fmt::format("<13>Nov 26 21:05:07 app: {}", i);
            co_await client.send_to(std::string_view(text), place);
        }
        co_await at.end(); // takes what was sent before
        CHECK(at.lines().size() == 100);
        CHECK(at.lines().back() ==
              fmt::format("[unix pid={} uid={} gid={} facility=user app=app] 99", ::getpid(),
                          ::getuid(), ::getgid()));
        CHECK(::access((directory / "log").c_str(), F_OK) != 0);
    }

    CO_TEST_CASE("a socket that somebody receives at is not taken away") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        const sapwood::unix_datagram alive(place);
        served at(listening(source_kind::syslog_datagrams, place));
        const auto failure = co_await sapwood::test::failure_of([&]() -> task<int> {
            co_await at.begin();
            co_return 0;
        });
        CHECK(failure.first == std::errc::address_in_use);
        CHECK(failure.second.find(directory / "log") != std::string::npos);
    }

    CO_TEST_CASE("a socket of another kind that somebody serves is not taken away either") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        const sapwood::unix_listener alive(place);
        served at(listening(source_kind::syslog_datagrams, place));
        const auto failure = co_await sapwood::test::failure_of([&]() -> task<int> {
            co_await at.begin();
            co_return 0;
        });
        CHECK(failure.first == std::errc::address_in_use);
        CHECK(::access((directory / "log").c_str(), F_OK) == 0);
    }

    CO_TEST_CASE("datagrams that the kernel had no room for are counted, and the log says so") {
        served at(listening(source_kind::syslog_datagrams, sapwood::test::loopback()));
        co_await at.begin();
        co_await sapwood::test::settle();
        const auto to = at.it->endpoints().front();
        sapwood::udp_socket client(sapwood::test::loopback());
        const std::string text(60'000, 'x');
        constexpr int sent = 400; // more than any buffer has room for
        for (int i = 0; i < sent; ++i) {
            ::sendto(client.fd(), text.data(), text.size(), 0, to.data(), to.size());
        }
        co_await at.end();
        const auto& counts = at.it->shared().counts;
        CHECK(counts.datagrams_dropped > 0);
        REQUIRE(at.lines().size() == sent - counts.datagrams_dropped + 1);
        CHECK(at.lines().front() ==
              fmt::format("[sapwood] {} datagrams that came at {} are missing here: its buffer was "
                          "full",
                          counts.datagrams_dropped, to.to_string()));
    }

    CO_TEST_CASE("a line that does not end is kept when its time is over, and its sender let go") {
        served at(listening(source_kind::lines, sapwood::test::loopback()));
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        const auto before = sapwood::event_loop::current().now();
        co_await client.write_all("whole\nhalf"sv);
        CHECK(co_await sapwood::test::read_to_end(client) == "");
        CHECK(sapwood::event_loop::current().now() - before < 40s);
        auto silent = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await sapwood::sleep_for(24h); // has nothing to say, and is still welcome
        co_await silent.write_all("at last\n"sv);
        co_await silent.shutdown_write();
        CHECK(co_await sapwood::test::read_to_end(silent) == "");
        co_await at.end();
        CHECK(at.records() == lines{"whole", "half", "at last"});
        CHECK(at.lines().at(1).find("cut=true") != std::string::npos);
    }

    CO_TEST_CASE("told to end while its log is stalled and full, it ends in time and says what is "
                 "left") {
        for (const bool is_stream : {true, false}) {
            const sapwood::test::temporary_directory directory;
            collector_options options =
                listening(is_stream ? source_kind::lines : source_kind::syslog_datagrams,
                          endpoint::unix_path(directory / "s"));
            auto& log = options.logs.emplace_back();
            log.name = "app";
            log.path = directory / "app.log";
            log.queue_records = 4;
            options.drain = 4s;
            served at(options);
            co_await at.begin();
            rlimit before{};
            REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
            const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
            REQUIRE(::setrlimit(RLIMIT_FSIZE, &none) == 0);
            constexpr unsigned sent = 1000;
            const std::string long_tail(3000,
                                        '.'); // more than the pipeline's batches have room for
            constexpr int room = 4 << 20;
            auto client = unix_stream();
            auto sender = sapwood::unix_datagram::make_unnamed();
            if (is_stream) {
                client = co_await unix_stream::connect(at.it->endpoints().front());
                ::setsockopt(client.fd(), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
                std::string text;
                for (unsigned i = 0; i < sent; ++i) {
                    text += std::to_string(i) + long_tail + "\n";
                }
                co_await client.write_all(std::string_view(text));
            } else {
                for (unsigned i = 0; i < sent; ++i) {
                    const std::string text = std::to_string(i) + long_tail;
                    const auto to = at.it->endpoints().front();
                    if (::sendto(sender.fd(), text.data(), text.size(), MSG_DONTWAIT, to.data(),
                                 to.size()) < 0) {
                        co_await sapwood::sleep_for(1ms); // its buffer is full, as it is to be
                    }
                }
            }
            co_await sapwood::sleep_for(3s);
            const auto began = sapwood::event_loop::current().now();
            co_await at.end();
            CHECK(sapwood::event_loop::current().now() - began <= 5s);
            REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
            const auto& counts = at.it->shared().counts;
            CHECK(counts.records_left > 0);
            if (is_stream) {
                CHECK(counts.records + counts.records_left == sent); // each line once
            }
            REQUIRE(at.it->left().size() == 2);
            CHECK(at.it->left().at(0).find(
                      fmt::format("log app: {} records are not in ", counts.records)) == 0);
            CHECK(at.it->left().at(1).find(
                      fmt::format("{} lines and datagrams were taken", counts.records_left)) == 0);
            CHECK_FALSE(at.it->is_stuck());
        }
    }

    CO_TEST_CASE("lines that were taken before the end are in the log once") {
        const sapwood::test::temporary_directory directory;
        collector_options options =
            listening(source_kind::lines, endpoint::unix_path(directory / "s"));
        auto& log = options.logs.emplace_back();
        log.name = "app";
        log.path = directory / "app.log";
        log.queue_records = 2;
        served at(options);
        co_await at.begin();
        auto client = co_await unix_stream::connect(at.it->endpoints().front());
        std::string text;
        lines expected;
        for (unsigned i = 0; i < 500; ++i) {
            expected.push_back(std::to_string(i));
            text += expected.back() + "\n";
        }
        co_await client.write_all(std::string_view(text));
        while (at.it->shared().counts.records == 0) {
            co_await sapwood::yield();
        }
        co_await at.end();
        std::string kept = sapwood::test::contents_of(directory / "app.log");
        CHECK(static_cast<std::size_t>(std::count(kept.begin(), kept.end(), '\n')) ==
              at.it->shared().counts.records);
        CHECK(at.it->shared().counts.records + at.it->shared().counts.records_left == 500);
    }
}

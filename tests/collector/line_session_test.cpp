// Lines and syslog messages, by streams and datagrams: what is in the log, and from whom.
#include "collector/served.hpp"
#include "support/co_test.hpp"
#include "support/http_exchange.hpp"

#include <collector/datagram_source.hpp>
#include <collector/settings.hpp>

#include <sapwood/datagram.hpp>
#include <sapwood/event.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/file.h>
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
using sapwood::collector::datagram_source;
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

/// What a process leaves that received there and was killed.
void leave_dead(const endpoint& at) {
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(fd, at.data(), at.size()) == 0);
    ::close(fd);
}

int receive_buffer_of(int fd) {
    int bytes = 0;
    socklen_t size = sizeof(bytes);
    REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size) == 0);
    return bytes;
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
                CHECK((found[1] == found[0]));
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

    TEST_CASE("what a line may have is at least what RFC 5424 would have every receiver take") {
        collector_options options;
        CHECK_THROWS_WITH_AS(sapwood::collector::set_limit(options, "line_bytes=479", "--limit"),
                             "--limit line_bytes: at least 480 is needed, not 479",
                             std::invalid_argument);
        sapwood::collector::set_limit(options, "line_bytes=480", "--limit");
        CHECK(options.limits.line_bytes_max == 480);
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
              lines{fmt::format("[udp {} facility=user host=web\\x5d app=su process=1 "
                                "sent=\"Nov 26 21:05:07\"] a\\nb",
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
        CHECK(at.lines().back() == fmt::format("[unix pid={} uid={} gid={} facility=user app=app "
                                               "sent=\"Nov 26 21:05:07\"] 99",
                                               ::getpid(), ::getuid(), ::getgid()));
        CHECK(::access((directory / "log").c_str(), F_OK) != 0);
    }

    CO_TEST_CASE("a datagram of a Unix socket may be as long as a line may be set to") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        auto options = listening(source_kind::syslog_datagrams, place);
        options.limits.line_bytes_max = 100'000;
        served at(options);
        co_await at.begin();
        auto client = sapwood::unix_datagram::make_unnamed();
        for (std::size_t more = 0; more < 2; ++more) {
            const std::string text = "<13>" + std::string(99'996 + more, 'x');
            co_await client.send_to(std::string_view(text), place);
        }
        co_await at.end();
        const lines found = at.records();
        REQUIRE(found.size() == 2);
        CHECK((found[0] == std::string(99'996, 'x')));
        CHECK((found[1] == found[0]));
        CHECK(at.lines()[0].find("cut=true") == std::string::npos);
        CHECK(at.lines()[1].find("cut=true") != std::string::npos);
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

    CO_TEST_CASE("who locks the folder keeps nobody from receiving where a dead process did") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        leave_dead(place);
        const sapwood::owned_fd folder(
            ::open((directory / "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(::flock(folder.fd(), LOCK_EX | LOCK_NB) == 0);
        const datagram_source source(place, 0600);
        CHECK(::access((directory / "log.lock").c_str(), F_OK) != 0);
        const auto client = sapwood::unix_datagram::make_unnamed();
        CHECK(::sendto(client.fd(), "on", 2, 0, place.data(), place.size()) == 2);
        co_return;
    }

    CO_TEST_CASE("two that start at once do not take each other's path, and the error says so") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        leave_dead(place);
        const std::string lock = directory / "log.lock";
        const sapwood::owned_fd other(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(::flock(other.fd(), LOCK_EX | LOCK_NB) == 0);
        std::string why;
        try {
            const datagram_source source(place, 0600);
        } catch (const std::system_error& failure) {
            why = failure.what();
        }
        CHECK(sapwood::test::has(why, lock + ": another process has locked it"));
        CHECK(::access((directory / "log").c_str(), F_OK) == 0);
        co_return;
    }

    CO_TEST_CASE("who is about to receive at a path has it, before there is anything") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        const std::string lock = directory / "log.lock";
        const sapwood::owned_fd other(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(::flock(other.fd(), LOCK_EX | LOCK_NB) == 0);
        std::error_code code;
        try {
            const datagram_source source(place, 0600);
        } catch (const std::system_error& failure) {
            code = failure.code();
        }
        CHECK(code == std::errc::address_in_use);
        CHECK(::access((directory / "log").c_str(), F_OK) != 0);
        co_return;
    }

    CO_TEST_CASE("what somebody else has put under a lock's name keeps nobody from receiving") {
        const sapwood::test::temporary_directory directory;
        const auto place = endpoint::unix_path(directory / "log");
        leave_dead(place);
        sapwood::test::fill(directory / "log.lock", "text");
        const datagram_source source(place, 0600);
        const auto client = sapwood::unix_datagram::make_unnamed();
        CHECK(::sendto(client.fd(), "on", 2, 0, place.data(), place.size()) == 2);
        CHECK(sapwood::test::contents_of(directory / "log.lock") == "text");
        co_return;
    }

    CO_TEST_CASE("an inherited socket is given room, unless its unit has chosen how much") {
        for (const bool is_chosen : {false, true}) {
            sapwood::udp_socket made(sapwood::test::loopback());
            constexpr int few = 8192;
            if (is_chosen) {
                ::setsockopt(made.fd(), SOL_SOCKET, SO_RCVBUF, &few, sizeof(few));
            }
            const int before = receive_buffer_of(made.fd());
            const sapwood::owned_fd same(::fcntl(made.fd(), F_DUPFD_CLOEXEC, 0));
            const datagram_source source(sapwood::owned_fd(made.release()));
            if (is_chosen) {
                CHECK(receive_buffer_of(same.fd()) == before);
            } else {
                CHECK(receive_buffer_of(same.fd()) > before);
            }
        }
        co_return;
    }

    CO_TEST_CASE("of whose sender the kernel says nothing is nobody's, and no user on a list") {
        const sapwood::test::temporary_directory directory;
        const endpoint place = endpoint::unix_path(directory / "log");
        served at;
        co_await at.begin();
        for (const bool is_told : {true, false}) {
            sapwood::unix_datagram bound(place);
            const sapwood::owned_fd same(::fcntl(bound.fd(), F_DUPFD_CLOEXEC, 0));
            const int yes = 1;
            const int passes = is_told ? 1 : 0;
            // As a unit with Timestamping= has it: it comes before the sender.
            ::setsockopt(same.fd(), SOL_SOCKET, SO_TIMESTAMP, &yes, sizeof(yes));
            datagram_source source(sapwood::owned_fd(::fcntl(bound.fd(), F_DUPFD_CLOEXEC, 0)));
            source.set_users({::getuid()});
            ::setsockopt(same.fd(), SOL_SOCKET, SO_PASSCRED, &passes, sizeof(passes));
            auto client = sapwood::unix_datagram::make_unnamed();
            co_await client.send_to("<14>from us"sv, place);
            auto& logs = at.it->shared().logs;
            auto running = sapwood::spawn(source.run(at.it->shared(), logs.front()));
            co_await sapwood::test::settle();
            running.cancel();
            CHECK_THROWS_AS(co_await running, sapwood::cancelled);
            CHECK(at.it->shared().gate.users_refused == (is_told ? 0 : 1));
            ::unlink((directory / "log").c_str());
        }
        co_await at.end();
        const std::string from =
            fmt::format("[unix pid={} uid={} gid={}", ::getpid(), ::getuid(), ::getgid());
        REQUIRE(at.lines().size() == 1);
        CHECK(at.lines().front().starts_with(from));
    }

    CO_TEST_CASE("a path that has come to be another's is left to it") {
        const sapwood::test::temporary_directory directory;
        const std::string path = directory / "log";
        auto first = std::make_unique<datagram_source>(endpoint::unix_path(path), 0600);
        REQUIRE(::unlink(path.c_str()) == 0);
        auto second = std::make_unique<datagram_source>(endpoint::unix_path(path), 0600);
        first.reset();
        CHECK(::access(path.c_str(), F_OK) == 0);
        second.reset();
        CHECK(::access(path.c_str(), F_OK) != 0);
        co_return;
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

    CO_TEST_CASE(
        "told to end while somebody sends datagrams on and on, it takes what was there, and "
        "others have their turn, to whom it is not ready any more") {
        auto options = listening(source_kind::syslog_datagrams, sapwood::test::loopback());
        options.listeners.emplace_back().at = sapwood::test::loopback();
        served at(options);
        co_await at.begin();
        auto balancer = co_await tcp_stream::connect(at.it->endpoints().back());
        sapwood::buffered_reader<sapwood::stream> answers(balancer);
        const std::string question = sapwood::test::get_request("/readyz");
        const std::string both = served::post_of("{}") + question;
        co_await balancer.write_all(std::string_view(question));
        CHECK((co_await sapwood::test::read_answer(answers))->status == 200);
        co_await sapwood::test::settle();
        const auto to = at.it->endpoints().front();
        sapwood::udp_socket client(sapwood::test::loopback());
        const auto send = [&](unsigned count) {
            for (unsigned i = 0; i < count; ++i) {
                CHECK(::sendto(client.fd(), "on", 2, 0, to.data(), to.size()) == 2);
            }
        };
        constexpr unsigned there = 400;
        send(there);
        bool has_turns = false;
        bool is_over = false;
        const auto& counts = at.it->shared().counts;
        sapwood::event is_ending;
        auto asking = sapwood::spawn([&]() -> task<unsigned> {
            co_await is_ending.wait();
            // Who is here is served as before for as long as that takes.
            co_await balancer.write_all(std::string_view(both));
            const auto taken = co_await sapwood::test::read_answer(answers);
            CHECK((taken && taken->status == 200));
            const auto answer = co_await sapwood::test::read_answer(answers);
            co_await balancer.close();
            co_return answer ? answer->status : 0;
        });
        auto sender = sapwood::spawn([&]() -> task<> {
            while (!is_over) {
                has_turns |= counts.records >= there / 8 && counts.records <= there - there / 8;
                if (has_turns) {
                    is_ending.set();
                }
                send(there / 4);
                co_await sapwood::yield();
            }
        });
        co_await at.end();
        is_over = true;
        co_await sender;
        CHECK(has_turns);
        CHECK(co_await asking == 503);
        CHECK(counts.records >= there);
        CHECK(counts.records < 4 * there);
        CHECK(at.lines().size() == counts.records);
    }

    CO_TEST_CASE(
        "new settings cannot open a socket that has no path, and so no mode, to everybody") {
        const auto place = endpoint::unix_abstract(fmt::format("sapwood-test-{}", ::getpid()));
        collector_options options = listening(source_kind::lines, place);
        options.listeners.front().users = {::getuid() + 1};
        served at(options);
        co_await at.begin();
        collector_options fresh = options;
        fresh.listeners.front().users.clear();
        CHECK_THROWS_AS(at.it->reload(fresh), std::invalid_argument);
        {
            auto stranger = co_await unix_stream::connect(place);
            CHECK(co_await sapwood::test::read_to_end(stranger) == ""); // sent away still
        }
        CHECK(at.it->shared().gate.users_refused == 1);
        fresh.takes_from_anybody = true;
        CHECK_NOTHROW(at.it->reload(fresh));
        fresh.takes_from_anybody = false; // and the list is not known any more
        fresh.listeners.clear();
        CHECK_THROWS_AS(at.it->reload(fresh), std::invalid_argument);
        co_await at.end();
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

    CO_TEST_CASE(
        "lines that do not go on make room for others when they have had a second, and are "
        "kept") {
        collector_options options = listening(source_kind::lines, sapwood::test::loopback());
        options.limits.connections_max = 2;
        served at(options);
        co_await at.begin();
        const endpoint to = at.it->endpoints().front();
        std::vector<tcp_stream> slow;
        for (int i = 0; i < 2; ++i) {
            slow.push_back(co_await tcp_stream::connect(to));
            co_await slow.back().write_all("ha"sv);
        }
        co_await sapwood::sleep_for(500ms);
        const auto before = at.it->shared().now;
        co_await send_and_end(to, "whole\n");
        CHECK(at.it->shared().now - before < 3s);
        CHECK(at.it->shared().gate.idle_closed > 0);
        co_await at.end();
        auto found = at.records();
        std::ranges::sort(found);
        CHECK(found == lines{"ha", "ha", "whole"});
        CHECK(std::ranges::count_if(at.lines(), [](const std::string& line) {
                  return line.find(" cut=true] ha") != line.npos;
              }) == 2);
    }

    CO_TEST_CASE("no page of a browser can write lines: who speaks HTTP is sent away, whole") {
        for (const auto kind : {source_kind::lines, source_kind::syslog}) {
            const sapwood::test::temporary_directory directory;
            auto options = listening(kind, sapwood::test::loopback());
            options.listeners.resize(2);
            options.listeners[1].kind = kind;
            options.listeners[1].at = endpoint::unix_path(directory / "s");
            options.limits.line_bytes_max = 1000;
            served at(options);
            co_await at.begin();
            const endpoint to = at.it->endpoints().front();
            const std::string body = "\r\n\r\n{\"forged\":1}\n<13>forged\n";
            const lines requests{"POST / HTTP/1.1\r\nHost: localhost" + body,
                                 "GET /x HTTP/1.0\r\nHost: localhost" + body,
                                 // too long for a line
                                 "POST /" + std::string(2000, 'x') + " HTTP/1.1" + body,
                                 // taken for messages that end so
                                 "POST / HTTP/1.1\r\nHost: localhost" + body + "\0"s,
                                 // without an end
                                 "OPTIONS /forged HTTP/1.1", "\x16\x03\x01\x02forged\n"};
            for (const std::string& each : requests) {
                for (const std::size_t first : {each.size(), std::size_t{7}}) {
                    auto client = co_await tcp_stream::connect(to);
                    co_await client.write_all(std::string_view(each).substr(0, first));
                    co_await sapwood::idle(1h);
                    try {
                        co_await client.write_all(std::string_view(each).substr(first));
                        co_await client.shutdown_write();
                        const std::string said = co_await sapwood::test::read_to_end(client);
                        CHECK(sapwood::test::status_of(said) == 400);
                        CHECK(sapwood::test::has(said, "takes lines, and no HTTP"));
                    } catch (const std::system_error&) {
                        // It was closed before all of it was there.
                    }
                }
            }
            CHECK(at.it->shared().gate.no_lines == 2 * requests.size());
            // Whoever has begun with a line, and whom no browser can be, is asked nothing.
            co_await send_and_end(to, "GET /x 200\nGET /x HTTP/1.1\n");
            auto client = co_await unix_stream::connect(at.it->endpoints().back());
            co_await client.write_all("GET /y HTTP/1.1\n"sv);
            co_await client.shutdown_write();
            CHECK(co_await sapwood::test::read_to_end(client) == "");
            co_await at.end();
            CHECK(at.records() == lines{"GET /x 200", "GET /x HTTP/1.1", "GET /y HTTP/1.1"});
        }
    }

    CO_TEST_CASE(
        "a first line that begins as a request does is kept where it is none, with its end "
        "or without") {
        for (const auto kind : {source_kind::lines, source_kind::syslog}) {
            served at(listening(kind, sapwood::test::loopback()));
            co_await at.begin();
            const endpoint to = at.it->endpoints().front();
            co_await send_and_end(to, "ERROR /dev/sda1 is full\n");
            co_await send_and_end(to, "ERROR /dev/sda1 is full");
            auto slow = co_await tcp_stream::connect(to); // until its time is over
            co_await slow.write_all("ERROR /dev/sdb1 is fu"sv);
            CHECK(co_await sapwood::test::read_to_end(slow) == "");
            co_await at.end();
            CHECK(at.it->shared().gate.no_lines == 0);
            CHECK(at.records() == lines{"ERROR /dev/sda1 is full", "ERROR /dev/sda1 is full",
                                        "ERROR /dev/sdb1 is fu"});
        }
    }

    CO_TEST_CASE("bodies of HTTP take nothing of what lines may hold") {
        served at(listening(source_kind::syslog, sapwood::test::loopback()));
        co_await at.begin();
        auto& counts = at.it->shared().counts;
        const auto others = at.it->shared().limits.held_bytes_max;
        counts.held_bytes += others;
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await client.write_all("<14>in two "sv);
        co_await sapwood::sleep_for(10ms);
        CHECK(counts.held_line_bytes > 0);
        co_await client.write_all("pieces\n"sv);
        co_await client.shutdown_write();
        CHECK(co_await sapwood::test::read_to_end(client) == "");
        CHECK(counts.held_bytes == others);
        CHECK(counts.held_line_bytes == 0);
        counts.held_bytes -= others;
        co_await at.end();
        CHECK(at.records() == lines{"in two pieces"});
    }

    CO_TEST_CASE("a line in two pieces is held up by a full log for as long as that takes") {
        collector_options options = listening(source_kind::lines, sapwood::test::loopback());
        const sapwood::test::temporary_directory directory;
        auto& log = options.logs.emplace_back();
        log.name = "app";
        log.path = directory / "app.log";
        log.queue_records = 4;
        log.batch_bytes = 256u << 10;
        served at(options);
        co_await at.begin();
        auto client = co_await tcp_stream::connect(at.it->endpoints().front());
        co_await client.write_all("ha"sv);
        while (at.it->shared().counts.held_line_bytes == 0) {
            co_await sapwood::yield();
        }
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
        const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &none) == 0);
        constexpr unsigned sent = 1000;
        const std::string tail(2000, '.'); // more than the pipeline's batches have room for
        std::string text = "lf\n";
        for (unsigned i = 1; i < sent; ++i) {
            text += std::to_string(i) + tail + "\n";
        }
        auto sending = sapwood::spawn([](tcp_stream& to, std::string_view what) -> task<> {
            co_await to.write_all(what);
        }(client, text));
        co_await sapwood::sleep_for(at.it->shared().limits.body + 10s);
        CHECK(at.it->shared().counts.records < sent);
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
        co_await sending;
        co_await client.write_all("last\n"sv);
        co_await client.shutdown_write();
        CHECK(co_await sapwood::test::read_to_end(client) == "");
        co_await at.end();
        CHECK(at.it->shared().counts.records_left == 0);
        CHECK(at.it->shared().counts.records == sent + 1);
        const std::string kept = sapwood::test::contents_of(directory / "app.log");
        CHECK(static_cast<std::size_t>(std::count(kept.begin(), kept.end(), '\n')) == sent + 1);
    }

    CO_TEST_CASE("a last line without an end waits for room in the log, too") {
        collector_options options = listening(source_kind::lines, sapwood::test::loopback());
        const sapwood::test::temporary_directory directory;
        auto& log = options.logs.emplace_back();
        log.name = "app";
        log.path = directory / "app.log";
        log.queue_records = 4;
        log.batch_bytes = 256u << 10;
        served at(options);
        co_await at.begin();
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
        const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &none) == 0);
        constexpr unsigned sent = 60; // more than the pipeline's batches have room for
        std::vector<tcp_stream> clients;
        for (unsigned i = 0; i < sent; ++i) {
            clients.push_back(co_await tcp_stream::connect(at.it->endpoints().front()));
            co_await clients.back().write_all(std::string_view(std::string(20'000, '.')));
            co_await clients.back().shutdown_write();
        }
        co_await sapwood::sleep_for(at.it->shared().limits.body + 10s);
        CHECK(at.it->shared().counts.records < sent);
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
        for (tcp_stream& each : clients) {
            CHECK(co_await sapwood::test::read_to_end(each) == "");
        }
        co_await at.end();
        CHECK(at.it->shared().counts.records_left == 0);
        CHECK(at.it->shared().counts.records == sent);
        const std::string kept = sapwood::test::contents_of(directory / "app.log");
        CHECK(static_cast<std::size_t>(std::count(kept.begin(), kept.end(), '\n')) == sent);
    }

    CO_TEST_CASE("who only connects keeps nobody out") {
        collector_options options = listening(source_kind::lines, sapwood::test::loopback());
        options.limits.connections_max = 2;
        served at(options);
        co_await at.begin();
        const endpoint to = at.it->endpoints().front();
        auto silent = co_await tcp_stream::connect(to);
        co_await sapwood::sleep_for(5s);
        auto alive = co_await tcp_stream::connect(to);
        co_await alive.write_all("alive\n"sv);
        auto next = co_await tcp_stream::connect(to);
        co_await next.write_all("next\n"sv);
        co_await sapwood::sleep_for(500ms);
        CHECK(at.it->shared().gate.idle_closed == 1);
        co_await alive.write_all("still alive\n"sv);
        co_await alive.shutdown_write();
        CHECK(co_await sapwood::test::read_to_end(alive) == "");
        co_await at.end();
        CHECK(co_await sapwood::test::read_to_end(silent) == "");
        CHECK(at.records() == lines{"alive", "next", "still alive"});
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
            auto half = unix_stream();
            auto sender = sapwood::unix_datagram::make_unnamed();
            if (is_stream) {
                half = co_await unix_stream::connect(at.it->endpoints().front());
                co_await half.write_all("its end never comes"sv);
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
                // Each line once, the one without an end, too.
                CHECK(counts.records + counts.records_left == sent + 1);
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

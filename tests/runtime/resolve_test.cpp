// resolve: names looked up on threads of their own, given up at once, and errors that name the
// host. What the system answers is not for tests: but for localhost, the lookups here are the
// tests' own.
#include "support/allocations.hpp"

#include <sapwood/resolve.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <atomic>
#include <condition_variable>
#include <doctest/doctest.h>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

namespace {

using namespace std::chrono_literals;
using sapwood::address_family;
using sapwood::endpoint;
using sapwood::name_query;
using sapwood::resolve_errc;
using sapwood::resolver;
using sapwood::task;
using endpoints = std::vector<endpoint>;

/// A name server that does not answer until it is let. Shared, because lookups outlive who asked.
class dead_server {
  public:
    endpoints answer(const name_query& query) {
        std::unique_lock lock(mutex_);
        ++asked_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return answers_; });
        ++answered_;
        changed_.notify_all();
        return {endpoint("192.0.2.7", static_cast<std::uint16_t>(std::stoi(query.service)))};
    }

    void wait_until_asked(int times) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return asked_ >= times; });
    }

    void come_back() {
        const std::lock_guard lock(mutex_);
        answers_ = true;
        changed_.notify_all();
    }

    void wait_until_answered(int times) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return answered_ >= times; });
    }

    [[nodiscard]] int asked() {
        const std::lock_guard lock(mutex_);
        return asked_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int asked_ = 0;
    int answered_ = 0;
    bool answers_ = false;
};

resolver::lookup_function asking(std::shared_ptr<dead_server> server) {
    return [server = std::move(server)](const name_query& query) { return server->answer(query); };
}

task<> ask(resolver& with, std::string service, std::uint16_t& port) {
    const auto found = co_await with.resolve("oak.example", std::move(service));
    port = found.front().port();
}

/// The lookup that `host` and `service` fail with.
task<std::system_error> failure_of(resolver& with, std::string host, std::string service,
                                   address_family family = address_family::any) {
    try {
        (void)co_await with.resolve(std::move(host), std::move(service), family);
    } catch (const std::system_error& failure) {
        co_return failure;
    }
    FAIL("it was found");
    co_return std::system_error(std::error_code());
}

task<> give_up_while_asked(resolver& with, dead_server& server) {
    std::uint16_t port = 0;
    auto asking = sapwood::spawn(ask(with, "1", port));
    co_await sapwood::yield();
    server.wait_until_asked(1);
    asking.cancel();
    CHECK_THROWS_AS(co_await asking, sapwood::cancelled);
    CHECK(port == 0);
    CHECK(with.lookups() == 1);
}

} // namespace

TEST_SUITE("resolve") {

    TEST_CASE("numbers are answered without a lookup") {
        resolver none(1, [](const name_query&) -> endpoints {
            FAIL("looked up");
            return {};
        });
        sapwood::run([](resolver& with) -> task<> {
            auto found = co_await with.resolve("127.0.0.1", "80");
            CHECK((found == endpoints{endpoint("127.0.0.1", 80)}));
            found = co_await with.resolve("::1", "65535", address_family::v6);
            CHECK((found == endpoints{endpoint("::1", 65535)}));
            const auto other = co_await failure_of(with, "127.0.0.1", "80", address_family::v6);
            CHECK(other.code() == resolve_errc::no_address);
        }(none));
    }

    TEST_CASE("localhost is found in both families, and a service by its name") {
        sapwood::run([]() -> task<> {
            const auto v4 = co_await sapwood::resolve("localhost", "80", address_family::v4);
            CHECK((v4 == endpoints{endpoint("127.0.0.1", 80)}));
            const auto any = co_await sapwood::resolve("localhost", "443");
            CHECK(any.size() >= 1);
            for (const auto& each : any) {
                CHECK(each.port() == 443);
            }
        });
    }

    TEST_CASE("what getaddrinfo refuses is an error that names host and service") {
        sapwood::run([]() -> task<> {
            auto& with = resolver::common();
            const auto service = co_await failure_of(with, "localhost", "no-such-service");
            CHECK(service.code() == resolve_errc::unknown_service);
            const std::string text = service.what();
            CHECK(text.find("localhost:no-such-service") != text.npos);
            CHECK(text.find("/etc/services") != text.npos);
            for (const char* wrong : {"99999", "65616", "4294967376", " 80", "+80", "-1", ""}) {
                CAPTURE(wrong);
                for (const char* host : {"127.0.0.1", "::1", "localhost"}) {
                    const auto no_port = co_await failure_of(with, host, wrong);
                    CHECK(no_port.code() == resolve_errc::unknown_service);
                }
            }
            const auto cut = co_await failure_of(with, std::string("127.0.0.1\0evil", 14), "80");
            CHECK(cut.code() == resolve_errc::not_found);
            const auto empty = co_await failure_of(with, "", "80");
            CHECK(empty.code() == resolve_errc::not_found);
            const auto nul = co_await failure_of(with, std::string("local\0host", 10), "80");
            CHECK(nul.code() == resolve_errc::not_found);
        });
    }

    TEST_CASE("an own lookup's answers and exceptions reach who asked") {
        resolver with(2, [](const name_query& query) -> endpoints {
            if (query.host == "none") {
                return {};
            }
            if (query.host == "bad") {
                throw std::system_error(resolve_errc::server_failed, "cannot resolve bad");
            }
            CHECK(query.family == address_family::v6);
            return {endpoint("2001:db8::1", 1), endpoint("2001:db8::2", 1)};
        });
        sapwood::run([](resolver& names) -> task<> {
            const auto found = co_await names.resolve("oak", "http", address_family::v6);
            CHECK(found.size() == 2);
            const auto none = co_await failure_of(names, "none", "1");
            CHECK(none.code() == resolve_errc::no_address);
            const auto bad = co_await failure_of(names, "bad", "1");
            CHECK(bad.code() == resolve_errc::server_failed);
        }(with));
    }

    TEST_CASE("a lookup that hangs is given up at once, and its answer is dropped") {
        const auto server = std::make_shared<dead_server>();
        {
            resolver with(2, asking(server));
            sapwood::run(give_up_while_asked(with, *server));
            // The loop is gone; the resolver goes too.
        }
        server->come_back();
        server->wait_until_answered(1);
    }

    TEST_CASE("more than the maximum wait in line, in order, and may be given up there") {
        const auto server = std::make_shared<dead_server>();
        resolver with(2, asking(server));
        sapwood::run([](resolver& names, dead_server& slow) -> task<> {
            std::uint16_t ports[4] = {};
            std::vector<sapwood::join_handle<void>> asking;
            for (std::size_t i = 0; i < 4; ++i) {
                asking.push_back(sapwood::spawn(ask(names, std::to_string(i + 1), ports[i])));
            }
            co_await sapwood::yield();
            slow.wait_until_asked(2);
            CHECK(names.lookups() == 2);
            asking[2].cancel();
            CHECK_THROWS_AS(co_await asking[2], sapwood::cancelled);
            slow.come_back();
            co_await asking[0];
            co_await asking[1];
            co_await asking[3];
            CHECK(ports[0] == 1);
            CHECK(ports[1] == 2);
            CHECK(ports[2] == 0);
            CHECK(ports[3] == 4);
            CHECK(slow.asked() == 3); // the one that was given up was never looked up
        }(with, *server));
    }

    TEST_CASE("a timeout around a lookup that hangs is kept") {
        const auto server = std::make_shared<dead_server>();
        resolver with(1, asking(server));
        sapwood::run([](resolver& names) -> task<> {
            const auto late =
                co_await sapwood::as_result(sapwood::timeout(1ms, names.resolve("oak", "1")));
            CHECK(late.error() == std::errc::timed_out);
        }(with));
        server->come_back();
    }

    TEST_CASE("a lookup for which there is no memory is not in the line any more") {
        int failures = 0;
        for (std::size_t nth = 1, failed = 1; failed != 0; ++nth) {
            failed = 0;
            std::atomic<int> asked = 0;
            resolver with(1, [&asked](const name_query&) {
                ++asked;
                return endpoints{endpoint("192.0.2.1", 1)};
            });
            sapwood::run([](resolver& names, std::size_t from, std::size_t& did_fail) -> task<> {
                std::uint16_t port = 0;
                try {
                    auto first = ask(names, "1", port);
                    const sapwood::test::failing_allocations failing(from);
                    co_await std::move(first);
                } catch (const std::bad_alloc&) {
                    did_fail = 1;
                } catch (const std::system_error& no_thread) {
                    CHECK(no_thread.code() == std::errc::resource_unavailable_try_again);
                    did_fail = 1;
                }
                if (did_fail != 0) {
                    co_await ask(names, "2", port);
                }
                CHECK(port == 1);
            }(with, nth, failed));
            CHECK(asked == 1);
            failures += static_cast<int>(failed);
        }
        CHECK(failures >= 2);
    }

    TEST_CASE("answers and requests to give up may meet at any moment") {
        resolver quick(4, [](const name_query&) { return endpoints{endpoint("192.0.2.1", 1)}; });
        sapwood::run([](resolver& with) -> task<> {
            int answered = 0;
            int given_up = 0;
            for (int round = 0; round < 500; ++round) {
                std::uint16_t port = 0;
                auto asking = sapwood::spawn(ask(with, "1", port));
                for (int turn = 0; turn < round % 7; ++turn) {
                    co_await sapwood::yield();
                }
                asking.cancel();
                try {
                    co_await asking;
                    CHECK(port == 1);
                    ++answered;
                } catch (const sapwood::cancelled&) {
                    ++given_up;
                }
            }
            CHECK(answered + given_up == 500);
        }(quick));
    }
}

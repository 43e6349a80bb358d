// Producer, broker and collector, whose connections break at random bytes, over and over: what was
// confirmed is in the log, once.
#include "collector/served.hpp"
#include "fake_broker.hpp"
#include "support/co_test.hpp"

#include <sapwood/amqp/connection.hpp>

#include <sapwood/sim_random.hpp>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::amqp::publication;
using sapwood::test::fake_broker;
using sapwood::test::served;
using sapwood::test::until;

class logged_round {
  public:
    explicit logged_round(std::uint64_t seed) : chance_(seed) {}

    task<> run() {
        broker_.queues["logs"];
        broker_.does.refuses_every = chance_.below(2) * chance_.between(3, 20);
        broker_.does.body_piece_bytes = chance_.between(1, 40);
        broker_.does.on_connection = [this](std::uint64_t number) { plan(number); };
        auto publishing = sapwood::spawn(publish());
        for (const std::size_t part : {chance_.between(0, count), count}) {
            served at(options());
            co_await at.begin();
            co_await until([&] { return acknowledged() >= part; });
            co_await at.end();
        }
        co_await publishing;
        co_await broker_.end();
        check();
    }

    [[nodiscard]] std::uint64_t connections() const noexcept { return broker_.connections(); }

  private:
    static constexpr std::size_t count = 20;

    /// The first connections break, after so many bytes in either direction.
    void plan(std::uint64_t number) {
        constexpr std::size_t never = ~std::size_t{0};
        const bool breaks = number < 7;
        broker_.does.sends_at_most = breaks ? chance_.between(1, 2000) : never;
        broker_.does.takes_at_most = breaks ? chance_.between(1, 2500) : never;
    }

    [[nodiscard]] sapwood::collector::collector_options options() {
        sapwood::collector::collector_options made;
        auto& log = made.logs.emplace_back();
        log.name = "app";
        log.path = directory_ / "app.log";
        auto& queue = made.queues.emplace_back();
        queue.url =
            fmt::format("amqp://guest:guest@127.0.0.1:{}/", broker_.options().to.hosts[0].port);
        queue.queue = "logs";
        queue.prefetch = static_cast<std::uint16_t>(chance_.between(1, 20));
        return made;
    }

    task<sapwood::amqp::connection> connected() {
        auto options = broker_.options();
        options.retry_first = 1ms;
        options.window_messages = chance_.between(1, 40);
        while (true) {
            try {
                co_return co_await sapwood::amqp::connect(options);
            } catch (const std::system_error&) { // cut off in the greeting
            }
        }
    }

    /// One that was confirmed on a connection that then broke may have been published twice.
    [[nodiscard]] std::size_t acknowledged() {
        std::set<std::string> ids;
        for (const auto& each : broker_.queues["logs"].done) {
            ids.insert(each.id);
        }
        return ids.size();
    }

    task<> publish() {
        auto mq = co_await connected();
        auto to = co_await mq.open_channel();
        for (std::size_t i = 0; i < count; ++i) {
            const std::string body = fmt::format("message {};", i);
            while (to.publish_nowait("", "logs", body) == publication::none) {
                co_await to.room();
            }
        }
        co_await to.confirmed();
        co_await mq.close();
    }

    void check() const {
        std::map<std::string, int> lines;
        std::ifstream log(directory_ / "app.log");
        for (std::string line; std::getline(log, line);) {
            const auto begin = line.find("message ");
            ++lines[line.substr(std::min(begin, line.size()))];
        }
        CHECK(lines.size() == count);
        for (const auto& [line, times] : lines) {
            CAPTURE(line);
            CHECK(times == 1);
        }
    }

    sapwood::sim_random chance_;
    const sapwood::test::temporary_directory directory_{sapwood::test::memory_directory()};
    fake_broker broker_;
};

} // namespace

TEST_SUITE("queue_faults") {
    CO_TEST_CASE("in 200 rounds of random faults each confirmed message is one line of the log") {
        std::uint64_t connections = 0;
        for (std::uint64_t seed = 1; seed <= 200; ++seed) {
            CAPTURE(seed);
            logged_round round(seed);
            co_await round.run();
            connections += round.connections();
        }
        CHECK(connections > 200 * 4); // most broke
    }
}

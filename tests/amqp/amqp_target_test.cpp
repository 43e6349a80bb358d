// sapwood send to a broker: what counts as taken, and what is there how often.
#include "fake_broker.hpp"
#include "support/co_test.hpp"

#include <tools/send_target.hpp>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::test::fake_broker;
using sapwood::test::until;
using sapwood::tools::amqp_send_options;
using sapwood::tools::send_answer;
using sapwood::tools::send_target;
using texts = std::vector<std::string>;

std::unique_ptr<send_target> target_in(const fake_broker& broker, std::string exchange = "",
                                       std::string key = "logs") {
    return sapwood::tools::make_amqp(
        {.url = fmt::format("amqp://guest:secret@127.0.0.1:{}/", broker.options().to.hosts[0].port),
         .exchange = std::move(exchange),
         .routing_key = std::move(key),
         .app = {}});
}

texts bodies(fake_broker& broker) {
    texts found;
    for (const auto& each : broker.queues["logs"].ready) {
        found.push_back(each.body);
    }
    return found;
}

task<send_answer::kind> outcome(send_target& to, std::string batch, std::uint64_t records) {
    const send_answer answer = co_await to.send(batch, records);
    co_return answer.is;
}

} // namespace

TEST_SUITE("amqp_target") {
    CO_TEST_CASE("a batch is taken when each of its records is confirmed") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        const auto to = target_in(broker);
        auto sending = sapwood::spawn(outcome(*to, "a\nb c\n{}\n", 3));
        co_await until([&] { return broker.queues["logs"].ready.size() == 3; });
        CHECK_FALSE(sending.done());
        broker.confirm_held();
        CHECK(co_await sending == send_answer::kind::taken);
        CHECK(bodies(broker) == texts{"a", "b c", "{}"});
        CHECK(to->taken_of_unfinished() == 0);
        (void)co_await to->finish();
        co_await broker.end();
    }

    CO_TEST_CASE("a batch that was given up goes on where it was, and nothing is there twice") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        const auto to = target_in(broker);
        auto sending = sapwood::spawn(outcome(*to, "a\nb\n", 2));
        co_await until([&] { return broker.queues["logs"].ready.size() == 2; });
        sending.cancel();
        bool is_cancelled = false;
        try {
            (void)co_await sending;
        } catch (const sapwood::cancelled&) {
            is_cancelled = true;
        }
        CHECK(is_cancelled);
        CHECK(to->goes_on());
        CHECK(to->taken_of_unfinished() == 0);
        broker.confirm_held();
        CHECK(co_await outcome(*to, "a\nb\n", 2) == send_answer::kind::taken);
        broker.does.holds_confirms = false;
        CHECK(co_await outcome(*to, "c\n", 1) == send_answer::kind::taken);
        CHECK(bodies(broker) == texts{"a", "b", "c"});
        (void)co_await to->finish();
        co_await broker.end();
    }

    CO_TEST_CASE("what no queue takes is hopeless, and is counted by what was taken") {
        fake_broker broker;
        (void)broker.queues["logs"];
        const auto to = target_in(broker, "x", "nowhere");
        CHECK(co_await outcome(*to, "a\nb\n", 2) == send_answer::kind::hopeless);
        CHECK(to->taken_of_unfinished() == 0);
        (void)co_await to->finish();
        co_await broker.end();
    }

    CO_TEST_CASE("a password that is wrong is hopeless, a broker that is away is not") {
        fake_broker broker;
        broker.does.refuses_login = 403;
        const auto to = target_in(broker);
        const send_answer answer = co_await to->send("a\n", 1);
        CHECK(answer.is == send_answer::kind::hopeless);
        CHECK(answer.why.find("secret") == answer.why.npos);
        co_await broker.end();
        CHECK(co_await outcome(*to, "a\n", 1) == send_answer::kind::again);
    }
}

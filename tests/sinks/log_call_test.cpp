// log_call: calls as actions, of functions and of coroutines.
#include "support/action_lines.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/log_call.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <chrono>
#include <doctest/doctest.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace call_test {

struct order {
    int id;
};

std::string log_value(const order& one) {
    return "order " + std::to_string(one.id);
}

struct opaque {};

struct shy {};

std::string log_value(const shy&) {
    throw std::runtime_error("shy");
}

/// What fmt shows as that many of two bytes each.
struct shown_by_fmt {
    int count;
};

} // namespace call_test

template <>
struct fmt::formatter<call_test::shown_by_fmt> : fmt::formatter<std::string_view> {
    auto format(const call_test::shown_by_fmt& one, fmt::format_context& to) const {
        std::string text = "=";
        for (int i = 0; i < one.count; ++i) {
            text += "\u00e4";
        }
        return fmt::formatter<std::string_view>::format(text, to);
    }
};

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using call_test::opaque;
using call_test::order;
using strings = std::vector<std::string>;
using test::action_log;

int twice(int number) {
    return 2 * number;
}

double twice(double number) {
    return 2 * number;
}

task<int> save(const logger& log, order one, std::string by) {
    log.info("saving for {}", by);
    co_await sleep_for(1ms);
    co_return one.id;
}

task<> sleep_task() {
    co_await sleep_for(1h);
}

task<> refuse(int) {
    co_await sleep_for(1ms);
    throw std::out_of_range("refused");
}

/// What stands behind `"fields":`.
std::string fields_of(const action_log& all, std::size_t line) {
    const std::string text = all.lines().at(line).text;
    const std::size_t found = text.find("\"fields\":");
    return found == text.npos ? "" : text.substr(found + 9);
}

task<bool> has_thrown(task<> one) {
    try {
        co_await std::move(one);
    } catch (const std::runtime_error&) {
        co_return true;
    }
    co_return false;
}

} // namespace

TEST_SUITE("log_call") {

    TEST_CASE("a function's arguments and result are recorded") {
        action_log all;
        CHECK(all.log.call(
                  "sum", [](int a, double b) { return a + b; }, 1, 2.5) == 3.5);
        CHECK(all.outline() == strings{"sum+@1", "sums@2"});
        CHECK(fields_of(all, 0) == R"({"arg0":1,"arg1":2.5}})");
        CHECK(fields_of(all, 1) == R"({"result":3.5}})");
        all.log.call("nothing", [] {});
        CHECK(fields_of(all, 3).empty());
    }

    TEST_CASE("the macro knows names, overloads and members") {
        action_log all;
        int number = 4;
        CHECK(SAPWOOD_LOG_CALL(all.log, twice, number) == 8);
        CHECK(SAPWOOD_LOG_CALL(all.log, twice, std::max(1.5, 2.5)) == 5);

        struct counter {
            int count = 0;

            int& add(int by) {
                count += by;
                return count;
            }
        } one;

        SAPWOOD_LOG_CALL(all.log, one.add, number) += 1; // a reference stays one
        CHECK(one.count == 5);
        CHECK(all.lines()[0].message == "twice");
        CHECK(fields_of(all, 0) == R"({"number":4}})");
        CHECK(fields_of(all, 2) == R"x({"std::max(1.5, 2.5)":2.5}})x");
        CHECK(all.lines()[4].message == "one.add");
        CHECK(all.lines()[1].level == "info");

#define SAPWOOD_TEST_PASSWORD number
        const int shown = SAPWOOD_LOG_CALL(all.log, twice, SAPWOOD_TEST_PASSWORD);
        const int hidden =
            SAPWOOD_LOG_CALL_WITH(all.log, "SAPWOOD_TEST_PASSWORD", twice, SAPWOOD_TEST_PASSWORD);
        CHECK(shown == hidden);
        CHECK(fields_of(all, 6) == R"x({"SAPWOOD_TEST_PASSWORD":4}})x");
        CHECK(fields_of(all, 8) == R"x({"SAPWOOD_TEST_PASSWORD":"(redacted)"}})x");
#undef SAPWOOD_TEST_PASSWORD
    }

    CO_TEST_CASE("a coroutine's action ends when its task does, and what it logs is inside") {
        action_log all;
        auto made = all.log.call("save", save, all.log, order{17}, std::string("ann"));
        all.log.info("not begun");
        CHECK(co_await std::move(made) == 17);
        CHECK(all.outline() == strings{"not begun", "save+@1", "saving for ann@2", "saves@3"});
        CHECK(fields_of(all, 1) ==
              R"({"arg0":"<sapwood::logger>","arg1":"order 17","arg2":"ann"}})");
        CHECK(fields_of(all, 3) == R"({"result":17}})");
        CHECK(all.lines()[3].duration >= 0);
    }

    CO_TEST_CASE("exceptions and requests to stop are told as they are, and travel on") {
        action_log all;
        CHECK_THROWS_AS(co_await all.log.call("refuse", refuse, 1), std::out_of_range);
        CHECK(all.outline() == strings{"refuse+@1", "refusef@2"});
        CHECK(all.lines()[1].exception == "std::out_of_range");
        auto running = spawn(all.log.call("sleep", [] { return sleep_task(); }));
        co_await sleep_for(1ms);
        running.cancel();
        CHECK_THROWS_AS(co_await running, cancelled);
        CHECK(all.lines()[3].outcome == "cancelled");
        CHECK_THROWS_AS(all.log.call("plain", [] { throw std::runtime_error("broken"); }),
                        std::runtime_error);
        CHECK(all.lines()[5].reason == "broken");
    }

    CO_TEST_CASE("a lambda coroutine is kept, with what it has captured, while its task runs") {
        action_log all;
        const std::string captured(100, 'c');
        auto running = spawn(all.log.call(
            "lambda",
            [captured](std::string argument) -> task<std::size_t> {
                co_await sleep_for(1ms);
                co_return captured.size() + argument.size();
            },
            std::string(50, 'a')));
        CHECK(co_await running == 150);
        CHECK(fields_of(all, 1) == R"({"result":150}})");
    }

    TEST_CASE("redacted names are never shown, be they the call's or the logger's") {
        auto memory = std::make_shared<log_memory>(1u << 20);
        logger_options options;
        options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory),
                                   .form = std::make_unique<json_layout>()});
        options.redact = {"token"};
        const logger log(std::move(options));

        struct {
            std::string password = "secret1";
            std::string token = "secret2";
            std::string passwords = "shown";
        } user;

        const auto login = [](const auto&...) { return std::string("secret3"); };
        SAPWOOD_LOG_CALL_WITH(log, "password, result", login, user.password, user.token,
                              user.passwords);
        log.call({.name = "login", .arguments = "password", .redact = "password"}, login,
                 user.password);
        log.flush_blocking();
        const auto lines = test::lines_of(memory->text());
        CHECK(lines[0].ends_with(
            R"x("fields":{"user.password":"(redacted)","user.token":"(redacted)",)x"
            R"x("user.passwords":"shown"}})x"));
        CHECK(lines[1].ends_with(R"x("fields":{"result":"(redacted)"}})x"));
        CHECK(lines[2].ends_with(R"x("fields":{"password":"(redacted)"}})x"));
        CHECK(lines[3].ends_with(R"x("fields":{"result":"secret3"}})x"));
    }

    TEST_CASE("where nobody knows which name is whose, a redacted one hides all") {
        auto memory = std::make_shared<log_memory>(1u << 20);
        logger_options options;
        options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory),
                                   .form = std::make_unique<json_layout>()});
        options.redact = {"password"};
        const logger log(std::move(options));
        action_log plain;
        const auto login = [](const auto&...) { return 1; };
        log.call("login", login, "ann", "secret");
        plain.log.call({.name = "login", .redact = "password"}, login, "ann", "secret");
        plain.log.call({.name = "login", .redact = "result, arg1"}, login, "ann", "secret");
        log.flush_blocking();
        constexpr std::string_view hidden = R"x({"arg0":"(redacted)","arg1":"(redacted)"}})x";
        CHECK(test::lines_of(memory->text())[0].ends_with(hidden));
        CHECK(memory->text().find("secret") == std::string::npos);
        CHECK(fields_of(plain, 0) == hidden);
        CHECK(fields_of(plain, 1) == R"x({"result":1}})x");
        CHECK(fields_of(plain, 2) == R"x({"arg0":"ann","arg1":"(redacted)"}})x");
        CHECK(fields_of(plain, 3) == R"x({"result":"(redacted)"}})x");
    }

    CO_TEST_CASE("a kept lambda has copies of its arguments, but for what it wants by reference") {
        action_log all;
        channel<int> queue(1);
        const std::string captured = "c";
        auto sending = all.log.call(
            "send", [captured](channel<int>& to, int what) -> task<> { co_await to.send(what); },
            queue, 17);
        co_await std::move(sending);
        CHECK(queue.try_receive() == 17);
        auto late = [&] {
            const std::string gone(50, 'g');
            return all.log.call(
                "late",
                [captured, &queue](const std::string& text, std::string value, channel<int>& to,
                                   std::unique_ptr<int> moved) -> task<std::string> {
                    co_await sleep_for(1ms);
                    co_return text + value + captured + std::to_string(&to == &queue ? *moved : 0);
                },
                gone, gone, queue, std::make_unique<int>(3));
        }();
        CHECK(co_await std::move(late) == std::string(100, 'g') + "c3");
    }

    TEST_CASE("values are cut where they are longer than wanted") {
        action_log all;
        const std::string text(1000, 'x');
        all.log.call(
            {.name = "cut", .value_bytes_max = 10, .shows_result = false},
            [](const auto&...) { return 1; }, text, text.c_str(), order{1}, opaque{},
            static_cast<const char*>(nullptr), true);
        CHECK(fields_of(all, 0) ==
              R"x({"arg0":"xxxxxxxxxx... (1000 bytes)","arg1":"xxxxxxxxxx... (1000 bytes)",)x"
              R"x("arg2":"order 1","arg3":"<call_test... (19 bytes)","arg4":"(null)",)x"
              R"x("arg5":true}})x");
        CHECK(fields_of(all, 1).empty());
    }

    TEST_CASE("what fmt shows is shown, and cut between characters") {
        action_log all;
        using call_test::shown_by_fmt;
        all.log.call(
            {.name = "cut", .value_bytes_max = 6}, [](const auto& one, const auto&) { return one; },
            shown_by_fmt{2}, shown_by_fmt{3});
        CHECK(fields_of(all, 0) ==
              "{\"arg0\":\"=\u00e4\u00e4\",\"arg1\":\"=\u00e4\u00e4... (7 bytes)\"}}");
        CHECK(fields_of(all, 1) == "{\"result\":\"=\u00e4\u00e4\"}}");
        all.log.call(
            {.name = "cut", .value_bytes_max = 7}, [](const auto&) {}, shown_by_fmt{4});
        CHECK(fields_of(all, 2) == "{\"arg0\":\"=\u00e4\u00e4\u00e4... (9 bytes)\"}}");
        all.log.call(
            {.name = "all", .value_bytes_max = static_cast<std::size_t>(-1)}, [](const auto&) {},
            shown_by_fmt{1});
        CHECK(fields_of(all, 4) == "{\"arg0\":\"=\u00e4\"}}");
    }

    CO_TEST_CASE("members are called, and references come back as such") {
        action_log all;

        struct counter {
            int count = 3;

            int& add(int by) { return count += by; }

            task<int&> add_later(int by) {
                co_await sleep_for(1ms);
                co_return count += by;
            }
        } one;

        CHECK(&all.log.call("add", &counter::add, one, 1) == &one.count);
        CHECK(all.log.call("count", &counter::count, one) == 4);
        CHECK(&co_await all.log.call("add_later", &counter::add_later, &one, 1) == &one.count);
        CHECK(one.count == 5);
        CHECK(fields_of(all, 5) == R"({"result":5}})");
    }

    TEST_CASE("below the logger's level, a call is a call") {
        action_log all;
        all.log.set_level(level::warning);
        CHECK(SAPWOOD_LOG_CALL(all.log, twice, 4) == 8);
        CHECK(all.outline().empty());
    }

    TEST_CASE("a redacted name is found wherever it stands in an expression") {
        action_log all;
        std::string password = "secret";
        std::string passwords = "shown";
        const auto take = [](const auto&...) {};
        SAPWOOD_LOG_CALL_WITH(all.log, "password", take, password.c_str(), std::string(password),
                              std::as_const(password), passwords, std::move(password));
        CHECK(fields_of(all, 0) ==
              R"x({"password.c_str()":"(redacted)","std::string(password)":"(redacted)",)x"
              R"x("std::as_const(password)":"(redacted)","passwords":"shown",)x"
              R"x("std::move(password)":"(redacted)"}})x");
    }

    TEST_CASE("literals and templates shift no name, or nothing is shown") {
        action_log all;
        const std::string password = "secret";
        const auto take = [](const auto&...) {};
        SAPWOOD_LOG_CALL_WITH(all.log, "password", take, 1'000, password, R"x(a", b)x", ',', "\"");
        CHECK(all.lines()[0].text.find("secret") == std::string::npos);
        CHECK(fields_of(all, 0).starts_with(R"x({"1'000":1000,"password":"(redacted)",)x"));
        SAPWOOD_LOG_CALL_WITH(all.log, "password", take, std::pair<int, int>{1, 2}.first, password);
        CHECK(fields_of(all, 2) == R"x({"arg0":"(redacted)","arg1":"(redacted)"}})x");
        SAPWOOD_LOG_CALL(all.log, take, std::pair<int, int>{1, 2}.first, std::string(password));
        CHECK(fields_of(all, 4) == R"x({"arg0":1,"arg1":"secret"}})x");
    }

    TEST_CASE("a value that cannot be shown says why, and the call goes on") {
        action_log all;
        all.log.call(
            "shy", [](const call_test::shy& one) { return one; }, call_test::shy());
        CHECK(all.outline() == strings{"shy+@1", "shys@2"});
        CHECK(fields_of(all, 0) == R"x({"arg0":"(not shown: shy)"}})x");
        CHECK(fields_of(all, 1) == R"x({"result":"(not shown: shy)"}})x");
    }

    TEST_CASE("below the logger's level, nothing is shown of a call's arguments") {
        action_log all;
        all.log.set_level(level::warning);
        const std::string name(1000, 'n');
        const std::size_t before = test::allocations();
        all.log.call(
            {.name = name, .arguments = name}, [](int) {}, 1);
        CHECK(test::allocations() == before);
    }

    CO_TEST_CASE("a call that fails says where it was made, of functions and of coroutines") {
        action_log all;
        const auto fails = [](int) -> int { throw std::runtime_error("no"); };
        const auto fails_later = [](int) -> task<> {
            co_await sleep_for(1ms);
            throw std::runtime_error("no");
        };
        std::vector<int> made_at;
        const auto source_of = [&](std::size_t call) {
            const std::string source = all.lines().at(2 * call + 1).source;
            return source.substr(source.rfind('/') + 1);
        };
        const auto here = [&made_at](int line) {
            made_at.push_back(line);
            return 1;
        };
        CHECK_THROWS(all.log.call("named", fails, here(__LINE__)));
        CHECK_THROWS(SAPWOOD_LOG_CALL(all.log, fails, here(__LINE__)));
        auto named = all.log.call("named", fails_later, here(__LINE__));
        auto by_macro = SAPWOOD_LOG_CALL(all.log, fails_later, here(__LINE__));
        CHECK(co_await has_thrown(std::move(named)));
        CHECK(co_await has_thrown(std::move(by_macro)));
        for (std::size_t call = 0; call < 4; ++call) {
            CHECK(source_of(call) == "log_call_test.cpp:" + std::to_string(made_at.at(call)));
        }
    }
}

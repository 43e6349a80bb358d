// this_task and task_local: what belongs to a task and to what it starts.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/named.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/this_task.hpp>
#include <sapwood/when_all.hpp>

#include <memory>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::sleep_for;
using sapwood::task;
using sapwood::task_local;
namespace this_task = sapwood::this_task;

const task_local<std::string> user("nobody");
const task_local<int> depth;

/// A plain function asks as well.
std::string current_user() {
    return user.get();
}

task<std::string> user_after(sapwood::clock::duration delay) {
    co_await sleep_for(delay);
    co_return current_user();
}

} // namespace

TEST_SUITE("this_task") {

    CO_TEST_CASE("a name is the task's, and of what it starts afterwards") {
        CHECK(this_task::name().empty());
        this_task::set_name("main");
        std::string inner;
        auto child = sapwood::spawn([&]() -> task<> {
            inner = this_task::name();
            this_task::set_name("child");
            co_await sleep_for(1s);
            inner += std::string(" ") + std::string(this_task::name());
        });
        this_task::set_name("main, later");
        co_await child;
        CHECK(inner == "main child");
        CHECK(this_task::name() == "main, later");
        auto name = []() -> task<std::string> { co_return std::string(this_task::name()); };
        CHECK(co_await name() == "main, later");
    }

    CO_TEST_CASE("a task has its name from the beginning, however it is started") {
        auto name = []() -> task<std::string> { co_return std::string(this_task::name()); };
        const std::string own = "a name that is not a literal, and long";
        CHECK(co_await sapwood::spawn(name(), {.name = "task"}) == "task");
        CHECK(co_await sapwood::spawn(name, {.name = "function"}) == "function");
        CHECK(co_await sapwood::spawn(name(), {.name = own}) == own);
        CHECK(co_await sapwood::spawn(sapwood::named("on its way", name())) == "on its way");
        const auto [left, right, unnamed] = co_await sapwood::when_all(
            sapwood::named("left", name()), sapwood::named(own, name), name());
        CHECK(left == "left");
        CHECK(right == own);
        CHECK(unnamed.empty());
        std::string member;
        auto tell = [&]() -> task<> { member += co_await name(); };
        sapwood::task_group group;
        group.spawn(tell(), {.name = "member"});
        group.spawn(tell, {.name = std::string("!")});
        co_await group.join();
        CHECK(member == "member!");
        CHECK(this_task::name().empty());
    }

    CO_TEST_CASE("a name is handed down, and another one replaces it") {
        auto name = []() -> task<std::string> { co_return std::string(this_task::name()); };
        auto parent = [&]() -> task<> {
            CHECK(co_await sapwood::spawn(name()) == "parent");
            CHECK(co_await sapwood::spawn(name(), {.name = "child"}) == "child");
            this_task::set_name(std::string("renamed"));
            CHECK(co_await sapwood::spawn(name()) == "renamed");
            CHECK(co_await sapwood::spawn(name(), {.name = "child"}) == "child");
            this_task::set_name("again");
            CHECK(this_task::name() == "again");
        };
        co_await sapwood::spawn(parent(), {.name = "parent"});
    }

    CO_TEST_CASE("a task that is awaited directly is no task of its own, whatever it is named") {
        auto name = []() -> task<std::string> {
            co_await sapwood::yield();
            co_return std::string(this_task::name());
        };
        CHECK((co_await sapwood::named("nobody", name())).empty());
    }

    CO_TEST_CASE("a literal as a name takes no memory") {
        auto spawn_one = [](sapwood::spawn_options options) -> task<> {
            co_await sapwood::spawn([]() -> task<> { co_return; }, options);
        };
        co_await spawn_one({}); // fills the frame pool, where there is one
        const auto first = sapwood::test::allocations();
        co_await spawn_one({});
        const auto unnamed = sapwood::test::allocations();
        co_await spawn_one({.name = "a literal, however long it is, is not copied anywhere"});
        CHECK(sapwood::test::allocations() - unnamed == unnamed - first);
    }

    CO_TEST_CASE("cancel_requested tells a request that has not been delivered") {
        sapwood::join_handle<> handle;
        std::string seen;
        auto note = [&] { seen += this_task::cancel_requested() ? '1' : '0'; };
        handle = sapwood::spawn([&]() -> task<> {
            note();
            handle.cancel();
            note();
            try {
                co_await sleep_for(1s);
            } catch (const sapwood::cancelled&) {
            }
            note();
        });
        co_await handle;
        CHECK(seen == "010");
    }

    CO_TEST_CASE("a bound value is seen by what is awaited, and is gone after its block") {
        CHECK(current_user() == "nobody");
        {
            const auto bound = user.bind("ann");
            CHECK(co_await user_after(1s) == "ann");
            {
                const auto deeper = user.bind("bob");
                const auto other = depth.bind(2);
                CHECK(co_await user_after(1s) == "bob");
                CHECK(depth.get() == 2);
            }
            CHECK(current_user() == "ann");
            CHECK(depth.get() == 0);
        }
        CHECK(current_user() == "nobody");
    }

    CO_TEST_CASE("what is started keeps the values of that moment") {
        sapwood::join_handle<std::string> spawned;
        std::string member;
        sapwood::task_group group;
        {
            const auto bound = user.bind("ann");
            spawned = sapwood::spawn(user_after(1h));
            group.spawn([&]() -> task<> { member = co_await user_after(1h); });
            const auto [left, right] = co_await sapwood::when_all(user_after(1s), user_after(2s));
            CHECK(left == "ann");
            CHECK(right == "ann");
        }
        const auto bound = user.bind("bob");
        CHECK(co_await spawned == "ann");
        co_await group.join();
        CHECK(member == "ann");
        CHECK(current_user() == "bob");
    }

    CO_TEST_CASE("what one task binds no other sees") {
        auto bind_and_wait = [](std::string name) -> task<bool> {
            const auto bound = user.bind(name);
            co_await sleep_for(1s);
            co_return current_user() == name;
        };
        const auto [ann, bob] =
            co_await sapwood::when_all(bind_and_wait("ann"), bind_and_wait("bob"));
        CHECK(ann);
        CHECK(bob);
        CHECK(current_user() == "nobody");
    }

    CO_TEST_CASE("a value is destroyed when the last task that has it is over") {
        const task_local<std::shared_ptr<int>> key;
        const auto token = std::make_shared<int>(0);
        sapwood::join_handle<> child;
        {
            const auto bound = key.bind(token);
            child = sapwood::spawn([]() -> task<> { co_await sleep_for(1s); });
            CHECK(token.use_count() == 2);
        }
        CHECK(token.use_count() == 2);
        co_await sleep_for(2s);
        CHECK(token.use_count() == 1); // the handle does not keep it
        co_await child;
    }

    TEST_CASE("outside of tasks there is no name and no value") {
        CHECK(sapwood::test::last_words([] { (void)this_task::name(); }) ==
              doctest::Contains("no task runs here"));
        CHECK(sapwood::test::last_words([] { (void)user.get(); }) ==
              doctest::Contains("no task runs here"));
    }

    TEST_CASE("bindings that end in another order than they began hit the assertion") {
        auto misuse = []() -> task<> {
            auto first = std::make_unique<task_local<int>::binding>(depth, 1);
            const auto second = depth.bind(2);
            first.reset();
            co_return;
        };
        CHECK(sapwood::test::last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("before one that was made later"));
    }
}

#include <sapwood/sapwood.hpp>

#include <cstdio>
#include <string>

using namespace std::chrono_literals;

const sapwood::task_local<std::string> user("nobody");

sapwood::task<int> price_of(int item) {
    co_await sapwood::sleep_for(5ms); // others run meanwhile
    co_return 10 * item;
}

sapwood::task<> audit(sapwood::event& done) {
    co_await done.wait();
    std::printf("%s: done, for %s\n", std::string(sapwood::this_task::name()).c_str(),
                user.get().c_str());
}

sapwood::task<> shop() {
    const auto bound = user.bind("ann"); // for this task and what it starts

    const int one = co_await price_of(1); // a call: the same task goes on in it

    sapwood::event done;
    auto auditor = sapwood::spawn(audit(done), {.name = "audit"}); // a task of its own

    const auto [two, three] = co_await sapwood::when_all(price_of(2), price_of(3));

    const auto first = co_await sapwood::when_any(price_of(4), price_of(5)); // the other is stopped

    int sum = 0;
    co_await sapwood::with_task_group([&](sapwood::task_group& group) -> sapwood::task<> {
        for (int item = 1; item <= 3; ++item) {
            group.spawn([&sum, item]() -> sapwood::task<> { sum += co_await price_of(item); });
        }
        co_return; // and the group waits for all of them
    });

    done.set();
    co_await auditor;
    std::printf("%d %d %d, first %zu, sum %d\n", one, two, three, first.index, sum);
}

int main() {
    sapwood::run(shop());
}

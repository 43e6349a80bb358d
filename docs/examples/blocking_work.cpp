#include <cstdio>
#include <sapwood/sapwood.hpp>

using namespace std::chrono_literals;
using sapwood::task;

// A call that blocks: on a thread of a pool, so that the loop goes on.
task<> add_up() {
    const long sum = co_await sapwood::run_blocking([] {
        long total = 0;
        for (long i = 1; i <= 1'000'000; ++i) {
            total += i;
        }
        return total;
    });
    std::printf("sum: %ld\n", sum);
}

// Another program: what it is given to read, and what it writes.
task<> sort_trees() {
    const sapwood::command sort("sort", "--reverse");
    const auto ran = co_await sapwood::run_process(sort, {.input = "ash\noak\nelm\n"});
    std::printf("sort %s:\n%s", ran.status.to_string().c_str(), ran.out.c_str());
}

// One that does not end by itself is ended and reaped with the wait for it.
task<> wait_in_vain() {
    auto child = co_await sapwood::process::start(sapwood::command("sleep", "1000"));
    const auto ended = co_await sapwood::as_result(sapwood::timeout(50ms, child.wait()));
    std::printf("sleep: %s, %s\n", ended.error().message().c_str(),
                child.status()->to_string().c_str());
}

// A name, by whatever this machine asks for names.
task<> find_host() {
    const auto found = co_await sapwood::resolve("localhost", "80", sapwood::address_family::v4);
    std::printf("localhost is %s\n", found.front().to_string().c_str());
}

task<> run() {
    co_await add_up();
    co_await sort_trees();
    co_await wait_in_vain();
    co_await find_host();
}

int main() {
    sapwood::run(run());
}

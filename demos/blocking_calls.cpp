// A call that blocks, given to a pool of threads in the three ways of Python's Pool:
//
//   apply        the caller waits for the result before it goes on
//   apply_async  the caller goes on, and takes the result when it wants to
//   callback     nobody waits: somebody is told of the result
//
// and from a thread that has no loop, which can only wait. Waiting here is a task's: the loop and
// every other task go on meanwhile, and the pool's threads bound how many calls run at once.
#include "command_line.hpp"
#include "print_line.hpp"

#include <sapwood/sapwood.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

using sapwood::blocking_pool;
using sapwood::task;

std::atomic<int> running{0};
std::atomic<int> most_at_once{0};

/// Stands for a library that knows nothing of loops: it holds its thread until it has the answer.
int slow_square(int number, std::chrono::milliseconds takes) {
    const int now = running.fetch_add(1) + 1;
    int most = most_at_once.load();
    while (most < now && !most_at_once.compare_exchange_weak(most, now)) {
    }
    std::this_thread::sleep_for(takes);
    running.fetch_sub(1);
    return number * number;
}

/// The call as a task: what is spawned, awaited, cancelled while it waits in line.
task<int> square(blocking_pool& pool, int number, std::chrono::milliseconds takes) {
    co_return co_await pool.run([=] { return slow_square(number, takes); });
}

/// Pool.apply_async(f, callback=then): a task that nobody awaits tells what came of the call.
task<> square_then(blocking_pool& pool, int number, std::chrono::milliseconds takes,
                   std::function<void(int)> then) {
    then(co_await square(pool, number, takes));
}

task<> show(blocking_pool& pool, int calls, std::chrono::milliseconds takes) {
    for (int number = 1; number <= calls; ++number) {
        const int result = co_await square(pool, number, takes); // one after the other
        print_line("apply: {} squared is {}", number, result);
    }
    print_line("apply: {} call at a time", most_at_once.exchange(0));

    std::vector<sapwood::join_handle<int>> handles;
    for (int number = 1; number <= calls; ++number) {
        handles.push_back(sapwood::spawn(square(pool, number, takes)));
    }
    print_line("apply_async: {} calls made, none awaited yet", handles.size());
    for (int number = 1; number <= calls; ++number) {
        const int result = co_await handles[static_cast<std::size_t>(number - 1)];
        print_line("apply_async: {} squared is {}", number, result);
    }
    print_line("apply_async: {} calls at once on {} threads", most_at_once.exchange(0),
               pool.threads());

    sapwood::latch all_told(static_cast<std::size_t>(calls));
    for (int number = 1; number <= calls; ++number) {
        const auto then = [number, &all_told](int result) {
            print_line("callback: {} squared is {}", number, result);
            all_told.count_down();
        };
        sapwood::spawn(square_then(pool, number, takes, then)).detach();
    }
    co_await all_told.wait(); // only so that the demonstration does not end before
}

} // namespace

int main(int argc, char** argv) {
    int calls = 3;
    unsigned threads = 2;
    std::int64_t duration = 20;

    command_line line("Gives calls that block to a pool of threads, in three ways.");
    line.number({"--calls", "How many in each way", "N"}, calls, 1, 1000);
    line.number({"--threads", "How many run at once", "N"}, threads, 1u, 64u);
    line.number({"--duration", "How long each blocks", "MS"}, duration, std::int64_t{0},
                std::int64_t{60'000});
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        const std::chrono::milliseconds takes(duration);
        blocking_pool pool(threads);
        sapwood::run(show(pool, calls, takes));
        // A thread without a loop makes one for the call, and waits in it.
        print_line("without a loop: {} squared is {}", calls,
                   sapwood::run(square(pool, calls, takes)));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "blocking_calls: {}\n", failure.what());
        return 1;
    }
}

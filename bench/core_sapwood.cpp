// Question: what does sapwood take for the cases of core_case.hpp? Method: see there. Unit: ns.
//
// Written the way a user writes it: no option is set, nothing is reached that is not public.

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include <sapwood/channel.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/result.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>
#include <sapwood/when_any.hpp>

#include "core_case.hpp"

namespace bench {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

sapwood::task<int> child(std::uint64_t i) {
    co_return value_of(i);
}

sapwood::task<nanoseconds> await(std::uint64_t ops) {
    const auto start = clock::now();
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < ops; ++i) {
        sum += static_cast<std::uint64_t>(co_await child(i));
    }
    const auto elapsed = clock::now() - start;
    check_equal("the sum of the awaited values", sum, sum_of_values(ops));
    co_return elapsed;
}

// Yields `count` times and counts how often the other task had its turn in between.
sapwood::task<> take_turns(std::uint64_t count, int id, int& last, std::uint64_t& taken) {
    for (std::uint64_t i = 0; i < count; ++i) {
        taken += last != id ? 1 : 0;
        last = id;
        co_await sapwood::yield();
    }
}

sapwood::task<nanoseconds> yield(std::uint64_t ops) {
    int last = 0;
    std::uint64_t taken = 0;
    const auto start = clock::now();
    auto other = sapwood::spawn(take_turns(ops / 2, 1, last, taken));
    co_await take_turns(ops / 2, 2, last, taken);
    co_await other;
    const auto elapsed = clock::now() - start;
    check_equal("the turns taken", taken, ops / 2 * 2);
    co_return elapsed;
}

sapwood::task<> produce(sapwood::channel<int>& queue, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await queue.send(value_of(i));
    }
}

sapwood::task<nanoseconds> pass_through_channel(std::uint64_t ops) {
    sapwood::channel<int> queue{channel_capacity};
    const auto start = clock::now();
    auto producer = sapwood::spawn(produce(queue, ops));
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < ops; ++i) {
        sum += static_cast<std::uint64_t>(co_await queue.receive());
    }
    co_await producer;
    const auto elapsed = clock::now() - start;
    check_equal("the sum of the received values", sum, sum_of_values(ops));
    co_return elapsed;
}

sapwood::task<nanoseconds> spawn(std::uint64_t ops) {
    const auto start = clock::now();
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < ops; ++i) {
        auto spawned = sapwood::spawn(child(i));
        sum += static_cast<std::uint64_t>(co_await spawned);
    }
    const auto elapsed = clock::now() - start;
    check_equal("the sum of the joined values", sum, sum_of_values(ops));
    co_return elapsed;
}

sapwood::task<> sleep_repeatedly(std::uint64_t count, nanoseconds duration, std::uint64_t& slept) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const auto start = clock::now();
        co_await sapwood::sleep_for(duration);
        slept += clock::now() - start >= duration ? 1 : 0;
    }
}

sapwood::task<nanoseconds> sleep_together(std::uint64_t tasks, std::uint64_t ops,
                                          nanoseconds duration) {
    std::uint64_t slept = 0;
    const auto start = clock::now();
    {
        std::vector<decltype(sapwood::spawn(sleep_repeatedly(0, duration, slept)))> sleepers;
        sleepers.reserve(tasks);
        for (std::uint64_t i = 0; i < tasks; ++i) {
            sleepers.push_back(sapwood::spawn(sleep_repeatedly(ops / tasks, duration, slept)));
        }
        for (auto& sleeper : sleepers) {
            co_await sleeper;
        }
    }
    const auto elapsed = clock::now() - start;
    check_equal("the sleeps that lasted", slept, ops);
    co_return elapsed;
}

// As many times as needed: 100000 sleepers at once, one sleep each.
sapwood::task<nanoseconds> sleep_once_each(std::uint64_t ops) {
    nanoseconds elapsed{};
    for (std::uint64_t done = 0; done < ops; done += sleep_tasks) {
        elapsed += co_await sleep_together(sleep_tasks, sleep_tasks, sleep_duration);
    }
    co_return elapsed;
}

sapwood::task<nanoseconds> sleep_thousand(std::uint64_t ops) {
    return sleep_together(sleep_thousand_tasks, ops, sleep_duration_min);
}

sapwood::task<nanoseconds> sleep_alone(std::uint64_t ops) {
    return sleep_together(1, ops, sleep_duration_min);
}

sapwood::task<nanoseconds> cancel_losers(std::uint64_t ops) {
    std::uint64_t first = 0;
    const auto start = clock::now();
    for (std::uint64_t i = 0; i < ops; ++i) {
        const auto won = co_await sapwood::when_any(sapwood::sleep_for(sleep_duration_min),
                                                    sapwood::sleep_for(sleep_duration_max));
        first += won.index == 0 ? 1 : 0;
    }
    const auto elapsed = clock::now() - start;
    check_equal("the sleeps that were first", first, ops);
    co_return elapsed;
}

sapwood::task<> read_until_cancelled(sapwood::file& from, std::uint64_t times,
                                     std::uint64_t& cancels) {
    char byte = 0;
    while (cancels < times) {
        const auto got = co_await sapwood::as_result(from.read_some({&byte, 1}));
        cancels += got.error() == std::errc::operation_canceled ? 1 : 0;
    }
}

sapwood::task<nanoseconds> cancel_reads(std::uint64_t ops) {
    auto ends = sapwood::pipe::make();
    std::uint64_t cancels = 0;
    auto reader = sapwood::spawn(read_until_cancelled(ends.reader, ops, cancels));
    const auto start = clock::now();
    for (std::uint64_t i = 0; i < ops; ++i) {
        while (cancels != i) {
            co_await sapwood::yield();
        }
        // One turn for the reader to ask, the next one gives it to the kernel.
        co_await sapwood::yield();
        co_await sapwood::yield();
        reader.cancel();
    }
    co_await reader;
    const auto elapsed = clock::now() - start;
    check_equal("the reads that were cancelled", cancels, ops);
    co_return elapsed;
}

core_case make_case(std::string_view name, std::uint64_t granularity,
                    sapwood::task<nanoseconds> (*work)(std::uint64_t)) {
    return {.name = name,
            .library = "sapwood",
            .granularity = granularity,
            .run = [work](std::uint64_t ops) { return sapwood::run(work(ops)); }};
}

} // namespace

std::vector<core_case> sapwood_cases() {
    return {
        make_case(await_case, 1, &await),
        make_case(yield_case, 2, &yield),
        make_case(channel_case, 1, &pass_through_channel),
        make_case(spawn_case, 1, &spawn),
        make_case(sleep_case, sleep_tasks, &sleep_once_each),
        make_case(sleep_thousand_case, sleep_thousand_tasks, &sleep_thousand),
        make_case(sleep_alone_case, 1, &sleep_alone),
        make_case(when_any_case, 1, &cancel_losers),
        make_case(cancel_read_case, 1, &cancel_reads),
    };
}

} // namespace bench

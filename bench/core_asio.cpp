// Question: what does Asio take for the cases of core_case.hpp? Method: see there. Unit: ns.
//
// Twice the same cases. `plain` is what Asio's tutorials and examples show: a default io_context,
// any_io_executor, an asynchronous operation for every step. `tuned` is what an expert writes who
// knows that there is one thread: concurrency hint 1, the io_context's own executor type instead of
// the type-erased one, and a channel's try_send and try_receive before suspending. (The latter give
// up fairness: a task may run on for 128 items without returning to the loop.)

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <asio.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/experimental/channel.hpp>

#include "core_case.hpp"

namespace bench {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

struct plain {
    using executor = asio::any_io_executor;
    static constexpr bool tries_first = false;
    static constexpr const char* name = "asio";

    static std::unique_ptr<asio::io_context> make_context() {
        return std::make_unique<asio::io_context>();
    }
};

struct tuned {
    using executor = asio::io_context::executor_type;
    static constexpr bool tries_first = true;
    static constexpr const char* name = "asio tuned";

    static std::unique_ptr<asio::io_context> make_context() {
        return std::make_unique<asio::io_context>(1);
    }
};

template <typename Style>
struct with {
    template <typename T = void>
    using task = asio::awaitable<T, typename Style::executor>;

    using timer =
        asio::basic_waitable_timer<clock, asio::wait_traits<clock>, typename Style::executor>;

    using channel = asio::experimental::basic_channel<typename Style::executor,
                                                      asio::experimental::channel_traits<>,
                                                      void(asio::error_code, int)>;

    static constexpr asio::use_awaitable_t<typename Style::executor> use_awaitable{};

    static nanoseconds run(task<nanoseconds> work) {
        const auto context = Style::make_context();
        nanoseconds elapsed{};
        std::exception_ptr failure;
        asio::co_spawn(*context, std::move(work), [&](std::exception_ptr error, nanoseconds time) {
            failure = error;
            elapsed = time;
        });
        context->run();
        if (failure) {
            std::rethrow_exception(failure);
        }
        return elapsed;
    }

    static task<int> child(std::uint64_t i) { co_return value_of(i); }

    static task<nanoseconds> await(std::uint64_t ops) {
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
    static task<> take_turns(std::uint64_t count, int id, int& last, std::uint64_t& taken) {
        for (std::uint64_t i = 0; i < count; ++i) {
            taken += last != id ? 1 : 0;
            last = id;
            co_await asio::post(use_awaitable);
        }
    }

    static task<nanoseconds> yield(std::uint64_t ops) {
        const auto executor = co_await asio::this_coro::executor;
        int last = 0;
        std::uint64_t taken = 0;
        bool other_done = false;
        const auto start = clock::now();
        asio::co_spawn(executor, take_turns(ops / 2, 1, last, taken),
                       [&](std::exception_ptr) { other_done = true; });
        co_await take_turns(ops / 2, 2, last, taken);
        while (!other_done) {
            co_await asio::post(use_awaitable);
        }
        const auto elapsed = clock::now() - start;
        check_equal("the turns taken", taken, ops / 2 * 2);
        co_return elapsed;
    }

    static task<> produce(channel& queue, std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            if constexpr (Style::tries_first) {
                if (queue.try_send(asio::error_code{}, value_of(i))) {
                    continue;
                }
            }
            co_await queue.async_send(asio::error_code{}, value_of(i), use_awaitable);
        }
    }

    static task<nanoseconds> pass_through_channel(std::uint64_t ops) {
        const auto executor = co_await asio::this_coro::executor;
        channel queue{executor, channel_capacity};
        const auto start = clock::now();
        asio::co_spawn(executor, produce(queue, ops), asio::detached);
        std::uint64_t sum = 0;
        for (std::uint64_t i = 0; i < ops; ++i) {
            if constexpr (Style::tries_first) {
                int received = 0;
                if (queue.try_receive([&](asio::error_code, int value) { received = value; })) {
                    sum += static_cast<std::uint64_t>(received);
                    continue;
                }
            }
            sum += static_cast<std::uint64_t>(co_await queue.async_receive(use_awaitable));
        }
        const auto elapsed = clock::now() - start;
        check_equal("the sum of the received values", sum, sum_of_values(ops));
        co_return elapsed;
    }

    static task<nanoseconds> spawn(std::uint64_t ops) {
        const auto executor = co_await asio::this_coro::executor;
        const auto start = clock::now();
        std::uint64_t sum = 0;
        for (std::uint64_t i = 0; i < ops; ++i) {
            sum += static_cast<std::uint64_t>(
                co_await asio::co_spawn(executor, child(i), use_awaitable));
        }
        const auto elapsed = clock::now() - start;
        check_equal("the sum of the joined values", sum, sum_of_values(ops));
        co_return elapsed;
    }

    static task<> sleep_repeatedly(std::uint64_t count, nanoseconds duration,
                                   std::uint64_t& slept) {
        timer alarm{co_await asio::this_coro::executor};
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto start = clock::now();
            alarm.expires_after(duration);
            co_await alarm.async_wait(use_awaitable);
            slept += clock::now() - start >= duration ? 1 : 0;
        }
    }

    // Joining is the return of run(): no other way to await many tasks is cheaper here.
    static nanoseconds sleep_together(std::uint64_t tasks, std::uint64_t ops,
                                      nanoseconds duration) {
        const auto context = Style::make_context();
        std::uint64_t slept = 0;
        const auto start = clock::now();
        for (std::uint64_t i = 0; i < tasks; ++i) {
            asio::co_spawn(*context, sleep_repeatedly(ops / tasks, duration, slept),
                           asio::detached);
        }
        context->run();
        const auto elapsed = clock::now() - start;
        check_equal("the sleeps that lasted", slept, ops);
        return elapsed;
    }

    // As many times as needed: 100000 sleepers at once, one sleep each.
    static nanoseconds sleep_once_each(std::uint64_t ops) {
        nanoseconds elapsed{};
        for (std::uint64_t done = 0; done < ops; done += sleep_tasks) {
            elapsed += sleep_together(sleep_tasks, sleep_tasks, sleep_duration);
        }
        return elapsed;
    }

    static task<nanoseconds> cancel_losers(std::uint64_t ops) {
        using namespace asio::experimental::awaitable_operators;
        const auto executor = co_await asio::this_coro::executor;
        timer soon{executor};
        timer late{executor};
        std::uint64_t first = 0;
        const auto start = clock::now();
        for (std::uint64_t i = 0; i < ops; ++i) {
            soon.expires_after(sleep_duration_min);
            late.expires_after(sleep_duration_max);
            const auto won =
                co_await (soon.async_wait(use_awaitable) || late.async_wait(use_awaitable));
            first += won.index() == 0 ? 1 : 0;
        }
        const auto elapsed = clock::now() - start;
        check_equal("the sleeps that were first", first, ops);
        co_return elapsed;
    }

    using pipe_end = asio::basic_readable_pipe<typename Style::executor>;

    static task<> read_until_cancelled(pipe_end& from, std::uint64_t times,
                                       std::uint64_t& cancels) {
        char byte = 0;
        while (cancels < times) {
            asio::error_code error;
            co_await from.async_read_some(asio::buffer(&byte, 1),
                                          asio::redirect_error(use_awaitable, error));
            cancels += error == asio::error::operation_aborted ? 1 : 0;
        }
    }

    static task<nanoseconds> cancel_reads(std::uint64_t ops) {
        const auto executor = co_await asio::this_coro::executor;
        pipe_end reader{executor};
        asio::basic_writable_pipe<typename Style::executor> writer{executor};
        asio::connect_pipe(reader, writer);
        std::uint64_t cancels = 0;
        asio::co_spawn(executor, read_until_cancelled(reader, ops, cancels), asio::detached);
        const auto start = clock::now();
        for (std::uint64_t i = 0; i < ops; ++i) {
            while (cancels != i) {
                co_await asio::post(use_awaitable);
            }
            co_await asio::post(use_awaitable);
            co_await asio::post(use_awaitable);
            reader.cancel();
        }
        while (cancels != ops) {
            co_await asio::post(use_awaitable);
        }
        co_return clock::now() - start;
    }

    static std::vector<core_case> cases() {
        const auto started = [](auto work) {
            return [work](std::uint64_t ops) { return run(work(ops)); };
        };
        return {
            {.name = await_case, .library = Style::name, .run = started(&await)},
            {.name = yield_case, .library = Style::name, .granularity = 2, .run = started(&yield)},
            {.name = channel_case, .library = Style::name, .run = started(&pass_through_channel)},
            {.name = spawn_case, .library = Style::name, .run = started(&spawn)},
            {.name = sleep_case,
             .library = Style::name,
             .granularity = sleep_tasks,
             .run = &sleep_once_each},
            {.name = sleep_thousand_case,
             .library = Style::name,
             .granularity = sleep_thousand_tasks,
             .run =
                 [](std::uint64_t ops) {
                     return sleep_together(sleep_thousand_tasks, ops, sleep_duration_min);
                 }},
            {.name = sleep_alone_case,
             .library = Style::name,
             .run = [](std::uint64_t ops) { return sleep_together(1, ops, sleep_duration_min); }},
            {.name = when_any_case, .library = Style::name, .run = started(&cancel_losers)},
            {.name = cancel_read_case, .library = Style::name, .run = started(&cancel_reads)},
        };
    }
};

} // namespace

std::vector<core_case> asio_cases() {
    return with<plain>::cases();
}

std::vector<core_case> tuned_asio_cases() {
    return with<tuned>::cases();
}

} // namespace bench
